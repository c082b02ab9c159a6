// This platform as one of several centres: its copy of the state, its objects, and the protocol that keeps them alike.

import {
  type Clock,
  HeptadError,
  type Lease,
  type LeaseGrantingStore,
  type ObjectStore,
  type RangeQuery,
  type RangeResult,
  type StateStore,
  type Txn,
  type TxnResult,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import { CenterClient, DisasterRecovery } from '@heptad/dr';
import { DistributedStorage } from '@heptad/storage';
import type { PlatformConfig } from '../config.ts';
import { storageNodesOf } from '../supervise/platform-processes.ts';
import type { CenterSettings } from './settings.ts';

/** What a centre is started with. */
export interface PlatformCenterOptions {
  readonly config: PlatformConfig;
  readonly settings: CenterSettings;
  /** This centre's own copy of the state. */
  readonly store: LeaseGrantingStore;
  /** What the storage nodes of this machine ask for. */
  readonly storageToken: string;
  readonly clock: Clock;
}

/** A running centre. */
export class PlatformCenter implements AsyncDisposable {
  readonly settings: CenterSettings;
  readonly recovery: DisasterRecovery;
  /** Asks whichever centre is primary. */
  readonly client: CenterClient;
  /** This machine's storage cluster: only for its status and repair, as what is written to it is not replicated. */
  readonly ownStorage: DistributedStorage | undefined;

  private constructor(
    settings: CenterSettings,
    recovery: DisasterRecovery,
    client: CenterClient,
    ownStorage: DistributedStorage | undefined,
  ) {
    this.settings = settings;
    this.recovery = recovery;
    this.client = client;
    this.ownStorage = ownStorage;
  }

  /** Starts it. Errors: those of {@link DisasterRecovery.start}. */
  static async start(options: PlatformCenterOptions): Promise<PlatformCenter> {
    const { config, settings, store, storageToken, clock } = options;
    const { self, topology, secret, switchOnPrediction } = settings;
    let recovery: DisasterRecovery | undefined;
    // Conditional writes are decided in the replicated state, which is there only once the centre runs.
    const state = new LateStore(() => recovery?.state);
    const nodes = storageNodesOf(config);
    const ownStorage = topology.center(self).witness
      ? undefined
      : new DistributedStorage({
          nodes,
          token: storageToken,
          stateStore: state,
          replicationFactor: Math.min(3, nodes.length),
          clock,
        });
    try {
      recovery = await DisasterRecovery.start({
        topology,
        self,
        store,
        secret,
        switchOnPrediction,
        clock,
        // Containers of another centre reach only that centre's server: none of them comes back to claim a lease here.
        orphanGraceMs: 0,
        ...(ownStorage === undefined ? {} : { objects: ownStorage }),
      });
    } catch (error) {
      await ownStorage?.close();
      throw error;
    }
    const addresses = topology.centers.map(({ address }) => address);
    return new PlatformCenter(settings, recovery, new CenterClient({ addresses, secret, clock }), ownStorage);
  }

  get self(): string {
    return this.settings.self;
  }

  /** Replicated objects. `NOT_PRIMARY` unless this centre is. */
  get objects(): ObjectStore {
    return this.recovery.objects;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.recovery[Symbol.asyncDispose]();
    await this.ownStorage?.close();
  }
}

/** A store that comes into being later; before, everything is `UNAVAILABLE`. */
class LateStore implements StateStore {
  readonly #find: () => StateStore | undefined;

  constructor(find: () => StateStore | undefined) {
    this.#find = find;
  }

  get #store(): StateStore {
    const store = this.#find();
    if (store !== undefined) return store;
    throw new HeptadError('UNAVAILABLE', 'this centre is still starting', { retryable: true });
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    return this.#store.range(query);
  }

  async txn(txn: Txn): Promise<TxnResult> {
    return this.#store.txn(txn);
  }

  watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    return this.#store.watch(query);
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    return this.#store.lease(options);
  }

  async compact(revision: number): Promise<void> {
    return this.#store.compact(revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
