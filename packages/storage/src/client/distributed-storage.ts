// DistributedStorage: the object store over storage nodes, as callers see it.

import {
  type Clock,
  type ConsistencyLevel,
  type GetOptions,
  type ObjectBody,
  type ObjectInfo,
  type ObjectRead,
  type ObjectStore,
  type PutOptions,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { StorageError } from '../errors.ts';
import { TagSource } from '../model/tag.ts';
import {
  checkBucketName,
  checkKey,
  checkMetadata,
  objectInfo,
  sha256Hex,
  type VersionHeader,
} from '../model/version.ts';
import type { Layout } from '../placement/layout.ts';
import { collectBody, sliceRange } from './body.ts';
import { type ClusterStatus, readClusterStatus } from './cluster-status.ts';
import { ConditionalWriter, DEFAULT_GUARD_PREFIX } from './conditional.ts';
import { BackgroundWork } from './gather.ts';
import { HttpReplicas } from './http-replica.ts';
import { LayoutClient } from './layout-client.ts';
import { listBucket } from './listing.ts';
import { DEFAULT_TIMEOUTS, type DistributedStorageOptions } from './options.ts';
import { type AddedNode, type ProgressOptions, Rebalancer } from './rebalance.ts';
import { type Draft, QuorumRegister } from './register.ts';
import { type RepairOptions, type RepairReport, repairCluster } from './repair.ts';
import type { Version } from './replica.ts';
import { Router } from './router.ts';
import { Sessions } from './session.ts';
import { StrongObjects } from './strong.ts';
import { readAnywhere, writeAnywhere } from './weak.ts';

/**
 * Replicated objects over {@link StorageNode}s. A write is acknowledged when a quorum (RF/2+1) has it on disk; a
 * `strong` read is linearizable; every read is verified by SHA-256 and damaged copies are repaired behind it.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm } from 'node:fs/promises';
 * import { DistributedStorage, StorageNode } from '@heptad/storage';
 *
 * const token = 'a-long-secret-token';
 * const root = await mkdtemp('/tmp/storage-');
 * const nodes = await Promise.all(
 *   ['a', 'b', 'c'].map((id) =>
 *     StorageNode.start({ id, directory: `${root}/${id}`, capacityBytes: 1024 ** 2, token })),
 * );
 * const storage = new DistributedStorage({ nodes, token });
 * await storage.put('orders', '1', 'two apples', { consistency: 'strong' });
 * const { body } = await storage.get('orders', '1');
 * console.log(Buffer.from(body).toString());
 * await storage.close();
 * for (const node of nodes) await node.close();
 * await rm(root, { recursive: true });
 * ```
 */
export class DistributedStorage implements ObjectStore {
  readonly #clock: Clock;
  readonly #background = new BackgroundWork();
  readonly #replicas: HttpReplicas;
  readonly #layouts: LayoutClient;
  readonly #router: Router;
  readonly #register: QuorumRegister;
  readonly #strong: StrongObjects;
  readonly #sessions = new Sessions();
  readonly #tags: TagSource;
  readonly #conditional: ConditionalWriter;
  readonly #rebalancer: Rebalancer;
  readonly #stop = new AbortController();

  constructor(options: DistributedStorageOptions) {
    const { nodes = [], seeds = [], clock = systemClock, random = systemRandom } = options;
    if (nodes.length === 0 && seeds.length === 0) {
      throw new StorageError('INVALID_ARGUMENT', 'cannot open the object store: no storage node was given', {
        hint: 'give "nodes" (ids and addresses) or "seeds" (addresses)',
      });
    }
    this.#clock = clock;
    this.#tags = new TagSource(clock, random);
    this.#replicas = new HttpReplicas({
      token: options.token,
      clock,
      timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
      addressOf: (node) => this.#layouts.addressOf(node),
      currentLayout: () => this.#layouts.layout,
    });
    this.#layouts = new LayoutClient({
      replicas: this.#replicas,
      nodes,
      seeds,
      replicationFactor: options.replicationFactor ?? 3,
      tags: this.#tags,
      clock,
      background: this.#background,
    });
    const [zone, closed] = [options.zone, this.#stop.signal];
    this.#router = new Router({ layouts: this.#layouts, random, zone, closed });
    this.#register = new QuorumRegister({
      replicas: this.#replicas,
      tags: this.#tags,
      background: this.#background,
      clock,
      prefer: (candidates) => this.#router.prefer(candidates),
    });
    this.#strong = new StrongObjects(this.#router, this.#register);
    const store = options.stateStore;
    this.#conditional = new ConditionalWriter({
      ...(store === undefined ? {} : { store }),
      guardPrefix: options.guardPrefix ?? DEFAULT_GUARD_PREFIX,
      objects: this.#strong,
      clock,
      random,
    });
    this.#rebalancer = new Rebalancer({
      layouts: this.#layouts,
      replicas: this.#replicas,
      register: this.#register,
      background: this.#background,
    });
    if (nodes.length > 0) this.#background.add(this.#layouts.seek(this.#stop.signal));
  }

  async put(bucket: string, key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    this.#check(bucket, key);
    const metadata = options.metadata ?? {};
    checkMetadata(metadata);
    const bytes = await collectBody(body, options.signal);
    const draft = this.#draft(bucket, key, bytes, metadata, false);
    return objectInfo(await this.#write(draft, options));
  }

  async delete(
    bucket: string,
    key: string,
    options: Pick<PutOptions, 'consistency' | 'session' | 'ifMatch' | 'signal'> = {},
  ): Promise<void> {
    this.#check(bucket, key);
    await this.#write(this.#draft(bucket, key, new Uint8Array(), {}, true), options);
  }

  async get(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectRead> {
    this.#check(bucket, key);
    const version = await this.#read(bucket, key, options);
    if (version === undefined || version.header.deleted) throw notFound(bucket, key);
    return { info: objectInfo(version.header), body: sliceRange(version.body, options.range) };
  }

  async head(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectInfo> {
    this.#check(bucket, key);
    const strong = (options.consistency ?? 'strong') === 'strong';
    const header = strong
      ? await this.#strong.head(bucket, key, options.signal)
      : (await this.#read(bucket, key, options))?.header;
    if (header === undefined || header.deleted) throw notFound(bucket, key);
    this.#sessions.note(options.session, bucket, key, header.tag);
    return objectInfo(header);
  }

  /** Sees every write that was acknowledged before the listing began; one under way may or may not be in it. */
  async *list(
    bucket: string,
    options: { prefix?: string; after?: string; limit?: number; signal?: AbortSignal } = {},
  ): AsyncIterable<ObjectInfo> {
    this.#router.checkOpen();
    checkBucketName(bucket);
    const { signal, ...query } = options;
    yield* listBucket({
      layout: () => this.#layouts.get(),
      refresh: () => this.#layouts.refresh(),
      replicas: this.#replicas,
      bucket,
      ...query,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Nodes, space, copies: what an administrator looks at first. Never rejects because nodes are down. */
  async getClusterStatus(): Promise<ClusterStatus> {
    this.#router.checkOpen();
    return await readClusterStatus(await this.#layouts.refresh(), this.#layouts, this.#replicas);
  }

  /**
   * Brings every copy of every object in line: missing and damaged copies are written, deletions finished.
   *
   * @throws StorageError `READ_FAILED` when a partition has no quorum.
   */
  async repair(options: RepairOptions = {}): Promise<RepairReport> {
    this.#router.checkOpen();
    const { signal } = options;
    await this.#rebalancer.finish(signal === undefined ? {} : { signal });
    return await repairCluster(
      {
        layouts: this.#layouts,
        replicas: this.#replicas,
        register: this.#register,
        clock: this.#clock,
        background: this.#background,
      },
      options,
    );
  }

  /**
   * Takes a running node into the cluster and moves its share of the partitions to it, while reads and writes go on.
   *
   * @throws StorageError `NODE_EXISTS`, `LAYOUT_CONFLICT`, `READ_FAILED` / `WRITE_FAILED` (call `repair()` later to
   * go on from where it stopped).
   */
  async addNode(node: AddedNode, options: ProgressOptions = {}): Promise<Layout> {
    this.#router.checkOpen();
    return await this.#rebalancer.addNode(node, options);
  }

  /**
   * Copies what a node holds to the others, then takes it out of the cluster. Works for a dead node too.
   *
   * @throws StorageError `NODE_NOT_FOUND`, `INVALID_ARGUMENT` (too few nodes would be left for the replication factor),
   * `INSUFFICIENT_SPACE` (the others could not hold its data), `LAYOUT_CONFLICT`, `READ_FAILED`, `WRITE_FAILED`.
   */
  async removeNode(id: string, options: ProgressOptions = {}): Promise<Layout> {
    this.#router.checkOpen();
    return await this.#rebalancer.removeNode(id, options);
  }

  /** Waits for requests under way, then lets go of all connections. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    await this.#background.settle();
    await this.#replicas.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #write(
    draft: Draft,
    options: Pick<PutOptions, 'consistency' | 'session' | 'ifMatch' | 'ifNoneMatch' | 'signal'>,
  ): Promise<VersionHeader> {
    const { bucket, key } = draft.header;
    const { ifMatch, ifNoneMatch, signal } = options;
    const level = checkLevel(options.consistency);
    let header: VersionHeader;
    if (ifMatch !== undefined || ifNoneMatch !== undefined) {
      header = await this.#conditional.write(draft, { ifMatch, ifNoneMatch }, signal);
    } else if (level === 'eventual') {
      header = await this.#router.run(bucket, key, (route) =>
        writeAnywhere(this.#weak(), route, draft, this.#router.order(route), signal),
      );
    } else {
      header = await this.#strong.write(draft, signal);
    }
    this.#sessions.note(options.session, bucket, key, header.tag);
    return header;
  }

  async #read(bucket: string, key: string, options: GetOptions): Promise<Version | undefined> {
    const { signal } = options;
    const level = checkLevel(options.consistency);
    let version: Version | undefined;
    if (level === 'strong') {
      version = await this.#strong.read(bucket, key, signal);
    } else {
      const atLeast = level === 'eventual' ? undefined : this.#sessions.floor(options.session, bucket, key);
      const weak =
        level === 'read-your-writes' && atLeast === undefined
          ? undefined
          : await this.#router.run(bucket, key, (route) =>
              readAnywhere(this.#weak(), route, this.#router.order(route), atLeast, signal),
            );
      version = weak === undefined ? await this.#strong.read(bucket, key, signal) : weak.version;
    }
    if (version !== undefined) this.#sessions.note(options.session, bucket, key, version.header.tag);
    return version;
  }

  #weak() {
    const [register, replicas] = [this.#register, this.#replicas];
    return { register, replicas, tags: this.#tags, background: this.#background };
  }

  #draft(
    bucket: string,
    key: string,
    body: Uint8Array,
    metadata: Readonly<Record<string, string>>,
    deleted: boolean,
  ): Draft {
    const lastModified = this.#clock.now();
    const sha256 = sha256Hex(body);
    return { header: { bucket, key, sha256, sizeBytes: body.length, lastModified, metadata, deleted }, body };
  }

  #check(bucket: string, key: string): void {
    this.#router.checkOpen();
    checkBucketName(bucket);
    checkKey(key);
  }
}

function checkLevel(level: ConsistencyLevel | undefined): ConsistencyLevel {
  const known: readonly string[] = ['strong', 'eventual', 'read-your-writes'];
  if (level === undefined) return 'strong';
  if (known.includes(level)) return level;
  throw new StorageError('INVALID_ARGUMENT', `there is no consistency level "${level}"`, {
    hint: `use one of ${known.join(', ')}`,
  });
}

function notFound(bucket: string, key: string): StorageError {
  return new StorageError('OBJECT_NOT_FOUND', `there is no object ${bucket}/${key}`);
}
