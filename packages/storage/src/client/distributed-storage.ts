// DistributedStorage: the object store over storage nodes, as callers see it.

import {
  type Clock,
  type ConsistencyLevel,
  type ConsistencySession,
  type GetOptions,
  isHeptadError,
  type ObjectBody,
  type ObjectInfo,
  type ObjectRead,
  type ObjectStore,
  type PutOptions,
  type Random,
  type StateStore,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { StorageError } from '../errors.ts';
import { MAX_LAYOUT_RETRIES } from '../limits.ts';
import { TagSource } from '../model/tag.ts';
import {
  checkBucketName,
  checkKey,
  checkMetadata,
  objectId,
  objectInfo,
  sha256Hex,
  type VersionHeader,
} from '../model/version.ts';
import { partitionOf } from '../placement/assign.ts';
import { type Layout, quorumSets } from '../placement/layout.ts';
import { collectBody, sliceRange } from './body.ts';
import { type ClusterStatus, readClusterStatus } from './cluster-status.ts';
import { ConditionalWriter, DEFAULT_GUARD_PREFIX } from './conditional.ts';
import { BackgroundWork } from './gather.ts';
import { HttpReplicas, type StorageTimeouts } from './http-replica.ts';
import { type KnownNode, LayoutClient } from './layout-client.ts';
import { listBucket } from './listing.ts';
import { type AddedNode, type ProgressOptions, Rebalancer } from './rebalance.ts';
import { type Draft, QuorumRegister } from './register.ts';
import { type RepairOptions, type RepairReport, repairCluster } from './repair.ts';
import type { Route, Version } from './replica.ts';
import { Sessions } from './session.ts';
import { readAnywhere, writeAnywhere } from './weak.ts';

/** How to open a {@link DistributedStorage}. */
export interface DistributedStorageOptions {
  /**
   * The storage nodes. The first client of a new cluster lays it out over them, in the background and as soon as most
   * of them answer; later the layout is found at the nodes and only the addresses given here matter.
   */
  readonly nodes?: readonly KnownNode[];
  /** Addresses of some nodes, when the layout is made elsewhere. Give `nodes` or `seeds`. */
  readonly seeds?: readonly string[];
  /** The nodes' bearer token. */
  readonly token: string;
  /** Copies of each object in a new cluster, 1 to 7. Default 3. */
  readonly replicationFactor?: number;
  /** Failure domain of this client: its nodes are asked for bytes first. */
  readonly zone?: string;
  /** Needed for `ifMatch` and `ifNoneMatch` alone; without it they are `NOT_SUPPORTED`. */
  readonly stateStore?: StateStore;
  /**
   * Where in the state store conditional writes are decided. All who write an object conditionally must use the same.
   * Default `/storage/guards/`.
   */
  readonly guardPrefix?: string;
  readonly timeouts?: StorageTimeouts;
  readonly clock?: Clock;
  readonly random?: Random;
}

const DEFAULT_TIMEOUTS: Required<StorageTimeouts> = { connectMs: 1000, requestMs: 5000 };

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
  readonly #random: Random;
  readonly #zone: string | undefined;
  readonly #background = new BackgroundWork();
  readonly #replicas: HttpReplicas;
  readonly #layouts: LayoutClient;
  readonly #register: QuorumRegister;
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
    this.#random = random;
    this.#zone = options.zone;
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
    this.#register = new QuorumRegister({
      replicas: this.#replicas,
      tags: this.#tags,
      background: this.#background,
      clock,
      prefer: (candidates) => this.#prefer(candidates),
    });
    const store = options.stateStore;
    this.#conditional = new ConditionalWriter({
      ...(store === undefined ? {} : { store }),
      guardPrefix: options.guardPrefix ?? DEFAULT_GUARD_PREFIX,
      head: (bucket, key, signal) => this.#strongHead(bucket, key, signal),
      read: (bucket, key, signal) => this.#strongRead(bucket, key, signal),
      write: (draft, signal) => this.#strongWrite(draft, signal),
      storeVersion: (version, signal) => this.#storeVersion(version, signal),
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
      ? await this.#strongHead(bucket, key, options.signal)
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
    this.#checkOpen();
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
    this.#checkOpen();
    return await readClusterStatus(await this.#layouts.refresh(), this.#layouts, this.#replicas);
  }

  /**
   * Brings every copy of every object in line: missing and damaged copies are written, deletions finished.
   *
   * @throws StorageError `READ_FAILED` when a partition has no quorum.
   */
  async repair(options: RepairOptions = {}): Promise<RepairReport> {
    this.#checkOpen();
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
    this.#checkOpen();
    return await this.#rebalancer.addNode(node, options);
  }

  /**
   * Copies what a node holds to the others, then takes it out of the cluster. Works for a dead node too.
   *
   * @throws StorageError `NODE_NOT_FOUND`, `INVALID_ARGUMENT` (too few nodes would be left for the replication factor),
   * `INSUFFICIENT_SPACE` (the others could not hold its data), `LAYOUT_CONFLICT`, `READ_FAILED`, `WRITE_FAILED`.
   */
  async removeNode(id: string, options: ProgressOptions = {}): Promise<Layout> {
    this.#checkOpen();
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
      header = await this.#underLayout(bucket, key, (route) =>
        writeAnywhere(this.#weak(), route, draft, this.#prefer(nodesOf(route)), signal),
      );
    } else {
      header = await this.#strongWrite(draft, signal);
    }
    this.#sessions.note(options.session, bucket, key, header.tag);
    return header;
  }

  async #read(bucket: string, key: string, options: GetOptions): Promise<Version | undefined> {
    const { signal } = options;
    const level = checkLevel(options.consistency);
    let version: Version | undefined;
    if (level === 'strong') {
      version = await this.#strongRead(bucket, key, signal);
    } else {
      const atLeast = level === 'eventual' ? undefined : this.#sessions.floor(options.session, bucket, key);
      const weak =
        level === 'read-your-writes' && atLeast === undefined
          ? undefined
          : await this.#underLayout(bucket, key, (route) =>
              readAnywhere(this.#weak(), route, this.#prefer(nodesOf(route)), atLeast, signal),
            );
      version = weak === undefined ? await this.#strongRead(bucket, key, signal) : weak.version;
    }
    if (version !== undefined) this.#sessions.note(options.session, bucket, key, version.header.tag);
    return version;
  }

  async #strongRead(bucket: string, key: string, signal?: AbortSignal): Promise<Version | undefined> {
    return await this.#underLayout(bucket, key, (route) => this.#register.read(route, signal));
  }

  async #strongHead(bucket: string, key: string, signal?: AbortSignal): Promise<VersionHeader | undefined> {
    return await this.#underLayout(bucket, key, (route) => this.#register.head(route, signal));
  }

  // The tag is drawn once: a version stored in part under one layout and again under the next must be the same version,
  // or a reader could see this write, then a later one, then this one again.
  async #strongWrite(draft: Draft, signal?: AbortSignal): Promise<VersionHeader> {
    const { bucket, key } = draft.header;
    const version = await this.#underLayout(bucket, key, (route) =>
      this.#register.draw(route, draft, signal),
    );
    await this.#storeVersion(version, signal);
    return version.header;
  }

  async #storeVersion(version: Version, signal?: AbortSignal): Promise<void> {
    const { bucket, key } = version.header;
    await this.#underLayout(bucket, key, (route) => this.#register.store(route, version, new Map(), signal));
  }

  // Runs a phase under the layout of the moment; nodes that go by a newer one refuse it, and it runs again under that.
  async #underLayout<T>(bucket: string, key: string, phase: (route: Route) => Promise<T>): Promise<T> {
    this.#checkOpen();
    const id = objectId(bucket, key);
    let layout = await this.#layouts.get();
    for (let attempt = 1; ; attempt += 1) {
      const sets = quorumSets(layout, partitionOf(id));
      try {
        return await phase({ id, layoutVersion: layout.version, sets });
      } catch (error) {
        if (attempt >= MAX_LAYOUT_RETRIES || !saysStaleLayout(error)) throw error;
        const newer = await this.#layouts.refresh();
        if (newer.version === layout.version) throw error;
        layout = newer;
      }
    }
  }

  #prefer(candidates: readonly string[]): readonly string[] {
    const nodes = this.#layouts.layout?.nodes ?? [];
    const near = (id: string): boolean =>
      this.#zone !== undefined && nodes.find((node) => node.id === id)?.zone === this.#zone;
    // A random start spreads the reads of a hot object over its replicas.
    const start = this.#random.integer(Math.max(1, candidates.length));
    const rotated = [...candidates.slice(start), ...candidates.slice(0, start)];
    return [...rotated.filter(near), ...rotated.filter((id) => !near(id))];
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
    this.#checkOpen();
    checkBucketName(bucket);
    checkKey(key);
  }

  #checkOpen(): void {
    if (this.#stop.signal.aborted)
      throw new StorageError('STORE_CLOSED', 'cannot use the object store: it was closed');
  }
}

function nodesOf(route: Route): readonly string[] {
  return [...new Set(route.sets.flatMap((set) => set.nodes))];
}

function saysStaleLayout(error: unknown): boolean {
  if (isHeptadError(error, 'STALE_LAYOUT')) return true;
  const replicas = isHeptadError(error) ? error.details.replicas : undefined;
  return (
    Array.isArray(replicas) &&
    replicas.some(
      (answer: unknown) =>
        typeof answer === 'object' && answer !== null && 'code' in answer && answer.code === 'STALE_LAYOUT',
    )
  );
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

/** What callers may keep between operations; see `ConsistencySession`. */
export type { ConsistencySession };
