// DisasterRecovery: runs one centre. The public face over the protocol: start, stores, switchover, failover, status.

import {
  type Clock,
  HeptadError,
  invalidArgument,
  type ObjectStore,
  type Random,
  type StateStore,
  systemClock,
  systemRandom,
  type Timer,
} from '@heptad/core';
import type { HealthSample } from '../predict/features.ts';
import { FailoverPredictor, type Prediction } from '../predict/predictor.ts';
import type { Divergence } from '../replicate/applier.ts';
import { ObjectReplication } from '../replicate/objects.ts';
import { PrimaryStore } from '../replicate/primary-store.ts';
import { candidacies } from '../topology/decide.ts';
import { Topology, type TopologyInput } from '../topology/topology.ts';
import { CenterProtocol } from './center.ts';
import { type CenterEvent, CenterEvents } from './events.ts';
import { HttpTransport } from './http-transport.ts';
import { serveCenter } from './service.ts';
import type { CenterExplanation, CenterStatus } from './status.ts';
import type { Endpoint, Transport } from './transport.ts';

/** Divergences kept for status. */
const DIVERGENCES_MAX = 20;
/** A planned switchover gives up when its target has not caught up within this time. */
const SWITCHOVER_TIMEOUT_MS = 10_000;

/** How to run a centre. */
export interface DisasterRecoveryOptions {
  readonly topology: Topology | TopologyInput;
  /** Name of this centre. */
  readonly self: string;
  /** Its own copy. A witness needs one too, for its votes. Must survive restarts: a vote forgotten is a vote given twice. */
  readonly store: StateStore;
  /** Its own objects; replicated when written through {@link DisasterRecovery.objects}. */
  readonly objects?: ObjectStore;
  /** Where to listen. Default: the centre's address in the topology. */
  readonly listen?: string;
  /** Shared by all centres and clients; every message is signed with it. */
  readonly secret?: string;
  /** Switch over by plan when the predictor advises it. Default false: only an event is emitted. */
  readonly switchOnPrediction?: boolean;
  readonly predictor?: FailoverPredictor;
  /** Default: HTTP. */
  readonly transport?: Transport;
  readonly clock?: Clock;
  readonly random?: Random;
}

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
  readonly state: StateStore;
  readonly #protocol: CenterProtocol;
  readonly #objects: ObjectReplication | undefined;
  readonly #events: CenterEvents;
  readonly #divergences: Divergence[];
  readonly #clock: Clock;
  readonly #predictor: FailoverPredictor;
  readonly #switchOnPrediction: boolean;
  #endpoint: Endpoint | undefined;
  #loop: Timer | undefined;
  #switching: Promise<void> | undefined;

  private constructor(options: {
    readonly protocol: CenterProtocol;
    readonly objects: ObjectReplication | undefined;
    readonly events: CenterEvents;
    readonly divergences: Divergence[];
    readonly predictor: FailoverPredictor;
    readonly switchOnPrediction: boolean;
  }) {
    const { protocol } = options;
    this.#protocol = protocol;
    this.#objects = options.objects;
    this.#events = options.events;
    this.#divergences = options.divergences;
    this.#predictor = options.predictor;
    this.#switchOnPrediction = options.switchOnPrediction;
    this.#clock = protocol.options.clock;
    this.topology = protocol.options.topology;
    this.self = protocol.options.self;
    this.state = new PrimaryStore(protocol.options.store, {
      requirePrimary: () => void this.#requirePrimary(),
      requireLease: () => {
        if (!protocol.leaseHeld) throw this.#notPrimary();
      },
      commitNeedsLease: this.topology.settings.replication === 'async',
      write: (action) => this.#requirePrimary().write(action),
      committed: (revision) => this.#requireReign().committed(revision),
    });
    this.#objects?.attach({
      state: this.state,
      clock: this.#clock,
      primary: () => (protocol.primary === this.self ? undefined : protocol.primary),
      whole: () => !protocol.local.applied.rebuilding,
      betweenEntries: (action) => protocol.betweenEntries(action),
      onEvent: (message) => this.#events.emit('replication', message),
    });
  }

  /** Starts a centre. Errors: `INVALID_TOPOLOGY`, `UNKNOWN_CENTER`, `LISTEN_FAILED`, and those of the store. */
  static async start(options: DisasterRecoveryOptions): Promise<DisasterRecovery> {
    const { self, store, clock = systemClock, random = systemRandom } = options;
    const topology = options.topology instanceof Topology ? options.topology : new Topology(options.topology);
    const own = topology.center(self);
    if (own.witness && options.objects !== undefined) {
      throw invalidArgument(`cannot start ${self} with an object store: a witness holds no data`);
    }
    const transport =
      options.transport ??
      new HttpTransport({ clock, ...(options.secret === undefined ? {} : { secret: options.secret }) });
    const events = new CenterEvents(self, clock);
    const divergences: Divergence[] = [];
    const objects =
      options.objects === undefined
        ? undefined
        : new ObjectReplication({
            objects: options.objects,
            state: store,
            call: (name, method, message, timeoutMs, signal) =>
              transport.call(topology.center(name).address, method, message, {
                timeoutMs,
                ...(signal === undefined ? {} : { signal }),
              }),
            others: () => topology.dataCenters.map(({ name }) => name).filter((name) => name !== self),
          });
    const protocol = await CenterProtocol.open({
      self,
      topology,
      store,
      transport,
      clock,
      random,
      onEvent: (kind, message) => events.emit(kind, message),
      hooks: {
        ...(objects === undefined ? {} : { beforeApply: (ops, from) => objects.bringIn(ops, from) }),
        onDivergence: (divergence) => {
          divergences.push(divergence);
          if (divergences.length > DIVERGENCES_MAX) divergences.shift();
          events.emit(
            'divergence',
            `this copy had ${divergence.changedKeys} keys that differ from the primary's; they were replaced: ${divergence.keys.join(', ')}`,
          );
        },
      },
    });
    const center = new DisasterRecovery({
      protocol,
      objects,
      events,
      divergences,
      predictor: options.predictor ?? new FailoverPredictor(),
      switchOnPrediction: options.switchOnPrediction ?? false,
    });
    center.#endpoint = await transport.serve(
      options.listen ?? own.address,
      serveCenter(center, protocol, objects),
    );
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

  #requireReign() {
    const { reign } = this.#protocol;
    if (reign === undefined) throw this.#notPrimary();
    return reign;
  }

  #requirePrimary() {
    if (!this.#protocol.serving) throw this.#notPrimary();
    return this.#requireReign();
  }

  #notPrimary(): HeptadError<'NOT_PRIMARY'> {
    const { primary, role } = this.#protocol;
    const other = primary === undefined || primary === this.self ? undefined : primary;
    const why =
      role === 'primary'
        ? this.#protocol.handingOver
          ? 'it is handing over'
          : 'its lease has run out: it cannot reach a majority'
        : other === undefined
          ? 'there is no primary now'
          : `${other} is`;
    return new HeptadError('NOT_PRIMARY', `${this.self} is not the serving primary: ${why}`, {
      retryable: true,
      hint: 'ask the primary, or try again in some seconds; CenterClient does both',
      details: other === undefined ? {} : { primary: other, address: this.topology.center(other).address },
    });
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
    if (this.topology.center(to).witness || to === this.self) {
      throw invalidArgument(
        `cannot switch over to ${to}: it is ${to === this.self ? 'the primary already' : 'a witness'}`,
      );
    }
    this.#switching ??= this.#switchover(to).finally(() => {
      this.#switching = undefined;
    });
    return this.#switching;
  }

  async #switchover(to: string): Promise<void> {
    const protocol = this.#protocol;
    const reign = this.#requirePrimary();
    const { requestTimeoutMs, leaseTtlMs } = this.topology.timings;
    const { generation } = reign;
    this.#events.emit('role', `handing over to ${to}`);
    protocol.handingOver = true;
    try {
      await reign.caughtUp(to, SWITCHOVER_TIMEOUT_MS);
    } catch (error) {
      protocol.handingOver = false;
      throw error;
    }
    await protocol.stepDown(`handing over to ${to}`);
    protocol.handingOver = false;
    protocol.yieldFor(leaseTtlMs);
    const message = { from: this.self, generation };
    const released = protocol.peers.names.map((name) =>
      protocol.call(name, 'release', message, requestTimeoutMs),
    );
    await Promise.allSettled(released);
    try {
      await protocol.call(to, 'take-over', message, 3 * requestTimeoutMs);
    } catch (cause) {
      protocol.yieldFor(0);
      throw new HeptadError(
        'SWITCHOVER_FAILED',
        `${to} did not take over: ${cause instanceof Error ? cause.message : cause}`,
        {
          cause,
          hint: 'nothing is lost; the centres elect a primary among themselves',
          retryable: true,
        },
      );
    }
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
    const protocol = this.#protocol;
    const because = options.because ?? 'promoted by hand';
    if (protocol.role === 'witness')
      throw invalidArgument(`cannot promote ${this.self}: a witness holds no data`);
    if (protocol.role === 'primary') return;
    if (protocol.local.applied.rebuilding) {
      throw new HeptadError('NOT_ELECTED', `cannot promote ${this.self}: its copy is being rebuilt`, {
        retryable: true,
      });
    }
    if (options.force) {
      if (this.topology.automaticFailover.possible) {
        throw new HeptadError(
          'FORCE_NOT_ALLOWED',
          `cannot promote ${this.self} by force: with ${this.topology.centers.length} centres a majority decides`,
          {
            hint: 'when a majority is lost for good, restart the remaining centres with a topology of their own',
          },
        );
      }
      return protocol.promoteByForce(because);
    }
    const highest = Math.max(
      protocol.generation,
      ...protocol.view().peers.map(({ report }) => report?.generation ?? 0),
    );
    const lost = await protocol.campaign(highest + 1, 'manual', because);
    if (lost !== undefined) {
      throw new HeptadError('NOT_ELECTED', `${this.self} was not elected: ${lost}`, { retryable: true });
    }
  }

  /** Takes over in a planned switchover; called by the old primary. */
  async takeOver(from: string, generation: number): Promise<void> {
    const protocol = this.#protocol;
    if (protocol.generation > generation) {
      throw new HeptadError('NOT_ELECTED', `generation ${protocol.generation} has begun meanwhile`);
    }
    await protocol.onRelease(from, generation);
    const lost = await protocol.campaign(generation + 1, 'switchover', `taken over from ${from} by plan`);
    if (lost !== undefined) throw new HeptadError('NOT_ELECTED', `${this.self} was not elected: ${lost}`);
  }

  /**
   * Takes in how this centre is doing, as seen by its clients, every two seconds or so. As primary, and when told so at the
   * start, it switches over to the most up-to-date backup when a failure is likely.
   */
  observeHealth(sample: HealthSample): Prediction {
    const prediction = this.#predictor.observe(sample);
    if (!prediction.switchAdvised || !this.#protocol.serving) return prediction;
    this.#events.emit('prediction', prediction.because);
    const best = this.#requireReign()
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
    const protocol = this.#protocol;
    const { primary, leaseLeftMs } = protocol;
    return {
      self: this.self,
      address: this.address,
      role: protocol.role,
      generation: protocol.generation,
      ...(primary === undefined ? {} : { primary, primaryAddress: this.topology.center(primary).address }),
      serving: protocol.serving,
      ...(leaseLeftMs === undefined ? {} : { leaseLeftMs: Math.round(leaseLeftMs) }),
      position: protocol.progress.position,
      replication: this.topology.settings.replication,
      automaticFailover: this.topology.automaticFailover,
      backups: protocol.reign?.replication() ?? [],
      peers: protocol.view().peers.map(({ name, suspicion, report }) => ({
        name,
        address: this.topology.center(name).address,
        ...(report === undefined ? {} : { role: report.role, generation: report.generation }),
        ...(report?.position === undefined ? {} : { position: report.position }),
        phi: Number(suspicion.phi.toFixed(2)),
        suspected: suspicion.suspected,
        message: suspicion.because,
      })),
      promotions: protocol.promotions,
      divergences: [...this.#divergences],
      decision: protocol.decision?.because ?? 'no decision yet',
    };
  }

  /** Why things are as they are: the latest decision, and for every centre why it may or may not be promoted. */
  explain(): CenterExplanation {
    return {
      self: this.self,
      decision: this.#protocol.decision?.because ?? 'no decision yet',
      candidates: candidacies(this.#protocol.view(), this.topology),
    };
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
