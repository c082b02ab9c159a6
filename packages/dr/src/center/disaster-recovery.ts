// DisasterRecovery: runs one centre. The public face over the protocol: start, stores, switchover, failover, status.

import { type Clock, HeptadError, type LeaseGrantingStore, type ObjectStore, type Timer } from '@heptad/core';
import type { HealthSample } from '../predict/features.ts';
import type { FailoverPredictor, Prediction } from '../predict/predictor.ts';
import type { Divergence } from '../replicate/applier.ts';
import type { ObjectReplication } from '../replicate/objects.ts';
import { PrimaryStore } from '../replicate/primary-store.ts';
import type { Topology } from '../topology/topology.ts';
import type { CenterProtocol } from './center.ts';
import type { CenterEvent, CenterEvents } from './events.ts';
import type { DisasterRecoveryOptions } from './options.ts';
import { type CenterParts, openParts } from './parts.ts';
import { primaryGate, requirePrimary } from './primacy.ts';
import { promoteByHand } from './promote-by-hand.ts';
import { serveCenter } from './service.ts';
import { type CenterExplanation, type CenterStatus, explanationOf, statusOf } from './status.ts';
import { checkSuccessor, handOver, takeOver } from './switchover.ts';
import type { Endpoint } from './transport.ts';

/**
 * Runs one centre of a {@link Topology}.
 *
 * Safety: at most one primary a generation (majority of durable votes); a primary stops before its lease ends, and another one
 * begins after; with synchronous replication an acknowledged write is on enough copies that whoever is elected has it.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { DisasterRecovery, Topology } from '@heptad/dr';
 *
 * const topology = new Topology({
 *   primary: 'north',
 *   centers: ['north', 'south', 'west'].map((name, i) => ({ name, address: `127.0.0.1:${17400 + i}` })),
 * });
 * const centers = await Promise.all(
 *   topology.centers.map(({ name }) => DisasterRecovery.start({ topology, self: name, store: new MemoryStateStore() })),
 * );
 * const north = await Promise.any(centers.map((center) => center.whenPrimary(AbortSignal.timeout(20_000)).then(() => center)));
 * await north.state.txn({ compare: [], success: [{ op: 'put', key: '/greeting', value: 'hello' }] });
 * console.log(north.status().role, north.explain().decision);
 * for (const center of centers) await center[Symbol.asyncDispose]();
 * ```
 */
export class DisasterRecovery implements AsyncDisposable {
  readonly topology: Topology;
  readonly self: string;
  /** Reads and writes of the replicated state. `NOT_PRIMARY` unless this centre is. */
  readonly state: LeaseGrantingStore;
  readonly #protocol: CenterProtocol;
  readonly #objects: ObjectReplication | undefined;
  readonly #events: CenterEvents;
  readonly #divergences: readonly Divergence[];
  readonly #clock: Clock;
  readonly #predictor: FailoverPredictor;
  readonly #switchOnPrediction: boolean;
  #endpoint: Endpoint | undefined;
  #loop: Timer | undefined;
  #switching: Promise<void> | undefined;

  private constructor(parts: CenterParts) {
    const { protocol } = parts;
    this.#protocol = protocol;
    this.#objects = parts.objects;
    this.#events = parts.events;
    this.#divergences = parts.divergences;
    this.#predictor = parts.predictor;
    this.#switchOnPrediction = parts.switchOnPrediction;
    this.#clock = protocol.options.clock;
    this.topology = protocol.options.topology;
    this.self = protocol.options.self;
    this.state = new PrimaryStore(protocol.options.store, primaryGate(protocol));
    this.#objects?.attach({
      state: this.state,
      primary: () => (protocol.primary === this.self ? undefined : protocol.primary),
      whole: () => !protocol.local.applied.rebuilding,
      betweenEntries: (action) => protocol.betweenEntries(action),
      onEvent: (message) => this.#events.emit('replication', message),
    });
  }

  /** Starts a centre. Errors: `INVALID_TOPOLOGY`, `UNKNOWN_CENTER`, `LISTEN_FAILED`, and those of the store. */
  static async start(options: DisasterRecoveryOptions): Promise<DisasterRecovery> {
    const parts = await openParts(options);
    const { protocol, objects } = parts;
    const { clock, topology, transport, self } = protocol.options;
    const center = new DisasterRecovery(parts);
    center.#endpoint = await transport.serve(
      options.listen ?? topology.center(self).address,
      serveCenter(center, protocol, objects),
    );
    objects?.begin(clock);
    center.#loop = clock.interval(topology.timings.heartbeatMs, () => protocol.tick());
    protocol.tick();
    return center;
  }

  /** Where it really listens. */
  get address(): string {
    return this.#endpoint?.address ?? this.topology.center(this.self).address;
  }

  /** Objects, replicated. `NOT_PRIMARY` unless this centre is; `NOT_SUPPORTED` when it was started without an object store. */
  get objects(): ObjectStore {
    if (this.#objects === undefined) {
      throw new HeptadError('NOT_SUPPORTED', `${this.self} was started without an object store`);
    }
    return this.#objects.store;
  }

  /** Resolves when this centre is the serving primary. */
  async whenPrimary(signal?: AbortSignal): Promise<void> {
    while (!this.#protocol.serving) await this.#clock.sleep(20, signal);
  }

  /**
   * Planned change of primary, losing nothing: stops writes, waits until `to` has everything, gives up the lease, and lets
   * `to` be elected. When `to` cannot, this centre stands again. Errors: `NOT_PRIMARY`, `BACKUP_BEHIND`, `SWITCHOVER_FAILED`.
   */
  async switchover(to: string): Promise<void> {
    checkSuccessor(this.#protocol, to);
    this.#switching ??= handOver(this.#protocol, to).finally(() => {
      this.#switching = undefined;
    });
    return this.#switching;
  }

  /** Planned return to the topology's own primary. Called on the present primary. Errors as {@link switchover}. */
  async failback(): Promise<void> {
    return this.switchover(this.topology.settings.primary);
  }

  /**
   * Promotes this centre by hand. Waits for neither conviction nor cool-down nor lag, but still needs the votes of a majority, and
   * these the end of the old primary's lease. Errors: `NOT_ELECTED` with each answer; `FORCE_NOT_ALLOWED`.
   *
   * `force` promotes without votes. It is only possible with two centres, and only right when the other one is known to be
   * off: a primary that is merely cut off goes on serving, and one side's writes will be thrown away.
   */
  async failover(options: { readonly force?: boolean; readonly because?: string } = {}): Promise<void> {
    return promoteByHand(this.#protocol, options);
  }

  /** Takes over in a planned switchover; called by the old primary. */
  async takeOver(from: string, generation: number): Promise<void> {
    return takeOver(this.#protocol, from, generation);
  }

  /**
   * Takes in how this centre is doing, as seen by its clients, every two seconds or so. As primary, and when told so at the
   * start, it switches over to the most up-to-date backup when a failure is likely.
   */
  observeHealth(sample: HealthSample): Prediction {
    const prediction = this.#predictor.observe(sample);
    if (!prediction.switchAdvised || !this.#protocol.serving) return prediction;
    this.#events.emit('prediction', prediction.because);
    const best = requirePrimary(this.#protocol)
      .replication()
      .filter(({ state }) => state === 'streaming')
      .sort((a, b) => (a.lagBytes ?? 0) - (b.lagBytes ?? 0))[0];
    if (this.#switchOnPrediction && best !== undefined && this.#switching === undefined) {
      this.switchover(best.backup).catch((error: unknown) =>
        this.#events.emit(
          'prediction',
          `the advised switchover failed: ${error instanceof Error ? error.message : error}`,
        ),
      );
    }
    return prediction;
  }

  /** The latest prediction of a failure of this centre. */
  predict(): Prediction {
    return this.#predictor.predict();
  }

  /** How this centre is and what it knows of the others. */
  status(): CenterStatus {
    return statusOf(this.#protocol, { address: this.address, divergences: this.#divergences });
  }

  /** Why things are as they are: the latest decision, and for every centre why it may or may not be promoted. */
  explain(): CenterExplanation {
    return explanationOf(this.#protocol);
  }

  /** The latest 500 events. */
  get events(): readonly CenterEvent[] {
    return this.#events.recent;
  }

  /** Calls back at each event. */
  onEvent(listener: (event: CenterEvent) => void): Disposable {
    return this.#events.listen(listener);
  }

  /** Stops: gives up primacy, closes the endpoint. The stores stay open. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop?.cancel();
    await this.#objects?.[Symbol.asyncDispose]();
    await this.#protocol.close();
    await this.#endpoint?.[Symbol.asyncDispose]();
  }
}
