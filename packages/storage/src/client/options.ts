// Options of DistributedStorage, and what holds when they are left out.

import type { Clock, Random, StateStore } from '@heptad/core';
import type { StorageTimeouts } from './http-replica.ts';
import type { KnownNode } from './layout-client.ts';

/** How to open a `DistributedStorage`. */
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

/** See {@link StorageTimeouts}. */
export const DEFAULT_TIMEOUTS: Required<StorageTimeouts> = { connectMs: 1000, requestMs: 5000 };
