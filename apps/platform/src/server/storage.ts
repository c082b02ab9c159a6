// The platform's object store as the API serves it: opened once the storage nodes have said where they are.

import { formatBytes, HeptadError, type ObjectStore, type StateStore } from '@heptad/core';
import { DistributedStorage } from '@heptad/storage';
import { z } from 'zod';
import type { PlatformCenter } from '../centers/platform-center.ts';

/** Key under which the agent says which storage nodes there are. */
export const STORAGE_NODES_KEY = '/storage/nodes';

const storedNodes = z
  .array(z.object({ id: z.string(), address: z.string(), zone: z.string().optional() }))
  .min(1);

/** What `GET /api/v1/storage` answers. */
export interface StorageSummary {
  readonly nodes: readonly {
    id: string;
    address: string;
    state: 'up' | 'down';
    usedBytes: number;
    capacityBytes: number;
    objects: number;
  }[];
  readonly health: string;
  readonly replicationFactor: number;
  readonly partitions: { readonly total: number; readonly underReplicated: number };
  readonly message: string;
}

const PARTITIONS = 256;

/** Opens and describes the object store. */
export class StorageService implements AsyncDisposable {
  readonly #store: StateStore;
  readonly #token: string;
  readonly #center: PlatformCenter | undefined;
  #opened: DistributedStorage | undefined;

  /** `center`: where objects are kept alike at several centres, which has opened this machine's storage already. */
  constructor(store: StateStore, token: string, center?: PlatformCenter) {
    this.#store = store;
    this.#token = token;
    this.#center = center;
    this.#opened = center?.ownStorage;
  }

  /** Learns the nodes; called at start and whenever the key changes. */
  async refresh(): Promise<void> {
    const { kvs } = await this.#store.range({ key: STORAGE_NODES_KEY });
    if (kvs[0] === undefined) return;
    const nodes = storedNodes
      .parse(JSON.parse(kvs[0].value))
      .map(({ id, address, zone }) => ({ id, address, ...(zone === undefined ? {} : { zone }) }));
    const previous = this.#opened;
    this.#opened = new DistributedStorage({
      nodes,
      token: this.#token,
      stateStore: this.#store,
      replicationFactor: Math.min(3, nodes.length),
    });
    await previous?.close();
  }

  /** Follows the key until the signal aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    if (this.#center !== undefined) return;
    await this.refresh();
    for await (const _changes of this.#store.watch({ prefix: STORAGE_NODES_KEY, signal }))
      await this.refresh();
  }

  /** The object store. `UNAVAILABLE` before any storage node is known. */
  objects(): ObjectStore {
    return this.#center?.objects ?? this.#require();
  }

  #require(): DistributedStorage {
    if (this.#opened !== undefined) return this.#opened;
    throw new HeptadError('UNAVAILABLE', 'there is no storage node yet', {
      hint: 'the agent starts them; heptad status says when they are up',
      retryable: true,
    });
  }

  /** The cluster in figures and a sentence. */
  async status(): Promise<StorageSummary> {
    if (this.#opened === undefined) {
      return {
        nodes: [],
        health: 'unavailable',
        replicationFactor: 0,
        partitions: { total: PARTITIONS, underReplicated: 0 },
        message: 'there is no storage node yet',
      };
    }
    const status = await this.#opened.getClusterStatus();
    const { health, replicationFactor, nodesUp, usedBytes, capacityBytes, partitionsUnderReplicated } =
      status;
    return {
      nodes: status.nodes.map((node) => ({
        id: node.id,
        address: node.address,
        state: node.up ? 'up' : 'down',
        usedBytes: node.usedBytes,
        capacityBytes: node.capacityBytes,
        objects: node.objects,
      })),
      health,
      replicationFactor,
      partitions: { total: PARTITIONS, underReplicated: partitionsUnderReplicated },
      message:
        `${health}: ${nodesUp}/${status.nodes.length} nodes up, ${formatBytes(usedBytes)} of ${formatBytes(capacityBytes)} used` +
        (partitionsUnderReplicated > 0
          ? `, ${partitionsUnderReplicated}/${PARTITIONS} partitions with too few copies`
          : ''),
    };
  }

  /** Compares all copies and mends differences. */
  async repair(): Promise<{
    checked: number;
    repaired: number;
    problems: readonly string[];
    message: string;
  }> {
    const { objects, copiesWritten, problems } = await this.#require().repair();
    return {
      checked: objects,
      repaired: copiesWritten,
      problems,
      message: `${objects} objects compared, ${copiesWritten} copies written${problems.length > 0 ? `; not mended: ${problems.join('; ')}` : ''}`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#center === undefined) await this.#opened?.close();
  }
}
