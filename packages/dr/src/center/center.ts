// The protocol of one centre: heartbeats, promises, votes, reigns. Everything that changes what it has promised or voted runs
// under one lock; nothing waits for the network while holding it.

import { type Clock, errorMessage, HeptadError, type Random, type StateStore } from '@heptad/core';
import { Applier, type ApplierHooks } from '../replicate/applier.ts';
import { answerVote, type VoteAnswer, type VoteRequest } from '../topology/ballot.ts';
import { type CenterView, type DecisionStep, decide } from '../topology/decide.ts';
import { comparePositions, type Position } from '../topology/position.ts';
import type { Topology } from '../topology/topology.ts';
import { LocalState } from './local-state.ts';
import {
  type CenterRole,
  type Heartbeat,
  type HeartbeatAnswer,
  heartbeatAnswerSchema,
  type Progress,
  type Rebuild,
  type Replicate,
  type ReplicateAnswer,
  voteAnswerSchema,
} from './messages.ts';
import { Mutex } from './mutex.ts';
import { Peers } from './peers.ts';
import { type Promotion, readPromotions } from './promotions.ts';
import { Reign } from './reign.ts';
import { sealBrokenReign } from './seal.ts';
import type { Transport } from './transport.ts';

/** Heartbeats to one peer that may be unanswered; more would only queue up behind a dead one. */
const HEARTBEATS_IN_FLIGHT = 4;

/** What a centre works with. */
export interface CenterProtocolOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly store: StateStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly hooks: ApplierHooks;
  readonly onEvent: (kind: CenterEventKind, message: string) => void;
}

/** What kind of thing happened. */
export type CenterEventKind =
  | 'role'
  | 'election'
  | 'suspicion'
  | 'replication'
  | 'decision'
  | 'divergence'
  | 'prediction';

/** The protocol. Made by {@link CenterProtocol.open}. */
export class CenterProtocol {
  readonly options: CenterProtocolOptions;
  readonly peers: Peers;
  readonly local: LocalState;
  readonly #lock = new Mutex();
  readonly #replication = new Mutex();
  readonly #applier: Applier;
  readonly #incarnation: string;
  readonly #inFlight = new Map<string, number>();
  readonly #answeredMs = new Map<string, number>();
  #promise: { to: string; untilMs: number } | undefined;
  #primary: string | undefined;
  #reign: Reign | undefined;
  #leaseUntilMs = 0;
  #standNotBeforeMs = 0;
  #lag = { bytes: 0, ms: 0 };
  #caughtUpMs = 0;
  #promotions: readonly Promotion[] = [];
  #suspected = new Set<string>();
  #decision: DecisionStep | undefined;
  #acting = false;
  /** Writes are refused while the reign is handed over. */
  handingOver = false;
  #closed = false;

  private constructor(options: CenterProtocolOptions, local: LocalState) {
    const { self, topology, clock, random, store } = options;
    this.options = options;
    this.local = local;
    this.peers = new Peers(self, topology);
    this.#incarnation = random.uuid(clock.now());
    this.#applier = new Applier(store, local, options.hooks, (generation, action) =>
      this.#lock.run(async () => {
        // Having voted in, or followed, a later generation means never again to acknowledge an earlier one.
        if (generation < local.ballot.generation) throw new HeptadError('FENCED', 'a later generation began');
        return action();
      }),
    );
    // What was promised before a restart is forgotten, so a whole lease is waited for. A centre that never voted or
    // followed anybody never promised anything.
    if (local.ballot.generation > 0) {
      const untilMs = clock.monotonicMs() + topology.timings.leaseTtlMs;
      this.#promise = { to: 'whom it followed before its restart', untilMs };
    }
  }

  /** Reads what the centre remembers. */
  static async open(options: CenterProtocolOptions): Promise<CenterProtocol> {
    const local = await LocalState.load(options.store);
    await sealBrokenReign(options.store, local);
    const protocol = new CenterProtocol(options, local);
    protocol.#promotions = await readPromotions(options.store);
    return protocol;
  }

  get role(): CenterRole {
    if (this.options.topology.center(this.options.self).witness) return 'witness';
    return this.#reign === undefined ? 'backup' : 'primary';
  }

  get generation(): number {
    return this.local.ballot.generation;
  }

  get reign(): Reign | undefined {
    return this.#reign;
  }

  /** Whom this centre follows now: itself as primary. */
  get primary(): string | undefined {
    return this.#reign === undefined ? this.#primary : this.options.self;
  }

  get decision(): DecisionStep | undefined {
    return this.#decision;
  }

  get promotions(): readonly Promotion[] {
    return this.#promotions;
  }

  get progress(): Progress {
    if (this.#reign !== undefined) return this.#reign.head.progress;
    const { position, bytes } = this.local.applied;
    return { position, bytes };
  }

  /** Of the lease, milliseconds; undefined for others than the primary. */
  get leaseLeftMs(): number | undefined {
    if (this.#reign === undefined) return undefined;
    return Math.max(0, this.#leaseUntilMs - this.options.clock.monotonicMs());
  }

  /** Whether nobody else can be primary now. */
  get leaseHeld(): boolean {
    const { topology, clock } = this.options;
    if (this.#reign === undefined) return false;
    // With nobody who could be promoted behind its back, a primary needs no lease.
    return !topology.automaticFailover.possible || clock.monotonicMs() < this.#leaseUntilMs;
  }

  /** Whether it takes reads and writes now. */
  get serving(): boolean {
    return this.leaseHeld && !this.handingOver;
  }

  /** One turn of the loop: heartbeats, then a decision. Never rejects. */
  tick(): void {
    if (this.#closed) return;
    const nowMs = this.options.clock.monotonicMs();
    this.peers.tick(nowMs);
    for (const name of this.peers.names) void this.#beat(name);
    this.#noteSuspicions(nowMs);
    if (this.#acting) return;
    this.#acting = true;
    this.#act()
      .catch((error: unknown) =>
        this.options.onEvent('decision', `a decision failed: ${errorMessage(error)}`),
      )
      .finally(() => {
        this.#acting = false;
      });
  }

  /** What this centre knows now; what {@link decide} decides by. */
  view(): CenterView {
    const { self, clock } = this.options;
    const nowMs = clock.monotonicMs();
    const last = this.#promotions.at(-1);
    return {
      self,
      role: this.role,
      generation: this.generation,
      position: this.progress.position,
      rebuilding: this.local.applied.rebuilding,
      nowMs,
      leaseUntilMs: this.#leaseUntilMs,
      promise: this.#promise,
      primary: this.primary,
      peers: this.peers.views(nowMs),
      lag: this.#lag,
      // To take up again what was one's own moves nothing, so nothing can flap.
      failoversAt:
        last?.primary === self
          ? []
          : this.#promotions.filter(({ kind }) => kind === 'failover').map(({ at }) => at),
      wallNow: clock.now(),
      standNotBeforeMs: this.#standNotBeforeMs,
    };
  }

  async #act(): Promise<void> {
    const [step] = decide(this.view(), this.options.topology);
    if (step === undefined) return;
    if (step.because !== this.#decision?.because && step.op !== this.#decision?.op) {
      this.options.onEvent('decision', `${step.op}: ${step.because}`);
    }
    this.#decision = step;
    if (step.op === 'step-down') await this.stepDown(step.because);
    if (step.op === 'stand') {
      const last = this.#promotions.at(-1);
      const kind = last === undefined ? 'first' : last.primary === this.options.self ? 'restart' : 'failover';
      await this.campaign(step.payload.generation, kind, step.because);
    }
  }

  #noteSuspicions(nowMs: number): void {
    for (const { name, suspicion } of this.peers.views(nowMs)) {
      if (suspicion.suspected === this.#suspected.has(name)) continue;
      if (suspicion.suspected) this.#suspected.add(name);
      else this.#suspected.delete(name);
      this.options.onEvent(
        'suspicion',
        `${name} is ${suspicion.suspected ? 'suspected' : 'heard again'}: ${suspicion.because}`,
      );
    }
  }

  // ---- heartbeats and promises

  async #beat(name: string): Promise<void> {
    const { self, topology, clock } = this.options;
    const pending = this.#inFlight.get(name) ?? 0;
    if (pending >= HEARTBEATS_IN_FLIGHT) return;
    this.#inFlight.set(name, pending + 1);
    // The lease counts from before the sending: the other side promises later than that.
    const sentMs = clock.monotonicMs();
    const generation = this.generation;
    const reign = this.#reign;
    const { primary } = this;
    const heartbeat: Heartbeat = {
      from: self,
      incarnation: this.#incarnation,
      generation: reign?.generation ?? generation,
      role: this.role,
      rebuilding: this.local.applied.rebuilding,
      suspects: this.peers.suspects(sentMs),
      ...(primary === undefined ? {} : { primary }),
      ...(this.role === 'witness' ? {} : { progress: this.progress }),
    };
    try {
      const said = await this.call(name, 'heartbeat', heartbeat, topology.timings.requestTimeoutMs);
      const answer = heartbeatAnswerSchema.parse(said);
      if (answer.generation > this.generation) await this.#adopt(answer.generation, undefined);
      if (answer.promised && reign !== undefined && reign === this.#reign) this.#promised(name, sentMs);
    } catch {
      // Silence is what the detectors on both sides are for.
    } finally {
      this.#inFlight.set(name, (this.#inFlight.get(name) ?? 1) - 1);
    }
  }

  #promised(name: string, sentMs: number): void {
    this.#answeredMs.set(name, Math.max(sentMs, this.#answeredMs.get(name) ?? 0));
    const { topology, clock } = this.options;
    const { leaseTtlMs, leaseMarginMs } = topology.timings;
    const sent = [clock.monotonicMs(), ...this.#answeredMs.values()].sort((a, b) => b - a);
    const oldestOfMajority = sent[topology.majority - 1];
    if (oldestOfMajority === undefined) return;
    this.#leaseUntilMs = Math.max(this.#leaseUntilMs, oldestOfMajority + leaseTtlMs - leaseMarginMs);
  }

  /** Takes in a heartbeat. */
  async onHeartbeat(heartbeat: Heartbeat): Promise<HeartbeatAnswer> {
    const { clock, self } = this.options;
    if (heartbeat.from === self || !this.peers.names.includes(heartbeat.from)) {
      throw new HeptadError('UNKNOWN_CENTER', `${self} knows no centre "${heartbeat.from}"`);
    }
    this.peers.heard(heartbeat, clock.monotonicMs());
    if (heartbeat.role !== 'primary') return { generation: this.generation, promised: false };
    const promised = await this.#follow(heartbeat.from, heartbeat.generation);
    if (promised) this.#measureLag(heartbeat);
    return { generation: this.generation, promised };
  }

  #measureLag(heartbeat: Heartbeat): void {
    const nowMs = this.options.clock.monotonicMs();
    const { position, bytes } = this.local.applied;
    const theirs = heartbeat.progress;
    if (theirs === undefined) return;
    if (comparePositions(position, theirs.position) >= 0) this.#caughtUpMs = nowMs;
    this.#lag = { bytes: Math.max(0, theirs.bytes - bytes), ms: nowMs - this.#caughtUpMs };
  }

  // Follows a primary unless a later generation is known; resolves with whether it does.
  #follow(name: string, generation: number): Promise<boolean> {
    return this.#lock.run(async () => {
      if (generation < this.generation) return false;
      if (generation > this.generation) await this.#adoptLocked(generation, name);
      if (this.#reign !== undefined) return false;
      const { clock, topology } = this.options;
      this.#promise = { to: name, untilMs: clock.monotonicMs() + topology.timings.leaseTtlMs };
      if (this.#primary !== name) {
        this.options.onEvent('role', `follows ${name}, primary of generation ${generation}`);
        // How long it has been behind is counted from when it began to follow.
        this.#caughtUpMs = clock.monotonicMs();
      }
      this.#primary = name;
      this.#standNotBeforeMs = 0;
      return true;
    });
  }

  #adopt(generation: number, primary: string | undefined): Promise<void> {
    return this.#lock.run(() => this.#adoptLocked(generation, primary));
  }

  // A later generation exists: an own reign is over, and nothing earlier is ever followed again.
  async #adoptLocked(generation: number, primary: string | undefined): Promise<void> {
    if (generation <= this.generation) return;
    await this.#endReign(`generation ${generation} has begun`);
    await this.local.setBallot({ generation, votedFor: primary });
    this.#primary = primary;
  }

  /** The old primary gives up its promises in favour of a planned successor. */
  async onRelease(from: string, generation: number): Promise<void> {
    await this.#lock.run(async () => {
      if (generation === this.generation && this.#promise?.to === from) this.#promise = undefined;
    });
  }

  // ---- votes

  /** Answers a request for a vote. */
  onVote(request: VoteRequest): Promise<VoteAnswer & { readonly generation: number }> {
    return this.#lock.run(async () => {
      const { clock, self, topology } = this.options;
      const { leaseTtlMs, leaseMarginMs } = topology.timings;
      const own =
        this.#reign === undefined ? undefined : { to: self, untilMs: this.#leaseUntilMs + leaseMarginMs };
      const answer = answerVote(request, {
        self,
        ballot: this.local.ballot,
        position: this.role === 'witness' ? undefined : this.progress.position,
        promise: own ?? this.#promise,
        nowMs: clock.monotonicMs(),
      });
      if (!answer.granted || request.trial) return { ...answer, generation: this.generation };
      await this.#endReign(`${request.candidate} was voted for`);
      await this.local.setBallot({ generation: request.generation, votedFor: request.candidate });
      this.#promise = { to: request.candidate, untilMs: clock.monotonicMs() + leaseTtlMs };
      return { ...answer, generation: this.generation };
    });
  }

  /**
   * Stands for a generation: first asks whether it would be elected (so that a centre that cannot win disturbs nobody), then
   * asks for votes. Resolves with why it was not elected, or undefined when it was.
   */
  async campaign(generation: number, kind: Promotion['kind'], because: string): Promise<string | undefined> {
    const { self, clock, random, topology, onEvent } = this.options;
    const { leaseTtlMs, leaseMarginMs, heartbeatMs } = topology.timings;
    const { position } = this.progress;
    const request = { candidate: self, generation, position };
    const lost = (why: string): string => {
      this.#standNotBeforeMs = clock.monotonicMs() + heartbeatMs * (1 + 2 * random.next());
      onEvent('election', `not elected in generation ${generation}: ${why}`);
      return why;
    };
    const trial = await this.#collect({ ...request, trial: true });
    if (!trial.enough) return lost(trial.because);
    const sentMs = clock.monotonicMs();
    const votes = await this.#collect({ ...request, trial: false });
    if (!votes.enough) return lost(votes.because);
    return this.#lock.run(async () => {
      const { ballot } = this.local;
      if (ballot.generation !== generation || ballot.votedFor !== self || this.#closed) {
        return lost('a later generation began meanwhile');
      }
      const promotion: Promotion = {
        generation,
        primary: self,
        from: this.#primary,
        at: clock.now(),
        kind,
        because,
      };
      this.#answeredMs.clear();
      for (const name of votes.grantedBy) this.#answeredMs.set(name, sentMs);
      this.#leaseUntilMs = sentMs + leaseTtlMs - leaseMarginMs;
      this.#promise = undefined;
      await this.#beginReign(promotion);
      return undefined;
    });
  }

  async #collect(
    request: VoteRequest,
  ): Promise<{ readonly enough: boolean; readonly because: string; readonly grantedBy: readonly string[] }> {
    const { topology, self } = this.options;
    const answers = await Promise.all([
      this.onVote(request).then((answer) => ({ name: self, ...answer })),
      ...this.peers.names.map(async (name) => {
        try {
          const said = await this.call(name, 'vote', request, topology.timings.requestTimeoutMs);
          return { name, ...voteAnswerSchema.parse(said) };
        } catch (error) {
          return { name, granted: false, because: errorMessage(error), generation: 0 };
        }
      }),
    ]);
    const granted = answers.filter((answer) => answer.granted);
    const data = granted.filter(({ name }) => !topology.center(name).witness);
    const enough =
      granted.length >= topology.majority &&
      data.length >= topology.electionData &&
      granted.some(({ name }) => name === self);
    const against = answers.filter((answer) => !answer.granted).map((answer) => answer.because);
    const because = `${granted.length} of ${topology.majority} votes, ${data.length} of ${topology.electionData} needed copies; ${against.join('; ')}`;
    return { enough, because, grantedBy: granted.map(({ name }) => name).filter((name) => name !== self) };
  }

  /** Promotes without asking anybody. Only where nobody could be elected instead. */
  async promoteByForce(because: string): Promise<void> {
    await this.#lock.run(async () => {
      const { self, clock } = this.options;
      const highest = Math.max(
        this.generation,
        ...this.view().peers.map(({ report }) => report?.generation ?? 0),
      );
      await this.#endReign('promoted by force');
      await this.local.setBallot({ generation: highest + 1, votedFor: self });
      this.#promise = undefined;
      const generation = highest + 1;
      await this.#beginReign({
        generation,
        primary: self,
        from: this.#primary,
        at: clock.now(),
        kind: 'manual',
        because,
      });
    });
  }

  // ---- reigns

  async #beginReign(promotion: Promotion): Promise<void> {
    const { self, topology, store, clock, onEvent } = this.options;
    this.handingOver = false;
    this.#reign = await Reign.begin({
      self,
      topology,
      generation: promotion.generation,
      store,
      local: this.local,
      clock,
      promotion,
      call: (name, method, message, timeoutMs, signal) => this.call(name, method, message, timeoutMs, signal),
      onFenced: (generation, by) => {
        onEvent('replication', `${by} refuses generation ${promotion.generation}: it follows ${generation}`);
        void this.#adopt(generation, undefined);
      },
      onEvent: (message) => onEvent('replication', message),
    });
    this.#promotions = await readPromotions(store);
    this.#primary = self;
    onEvent('role', `PRIMARY of generation ${promotion.generation}: ${promotion.because}`);
    // Tell everybody at once: until they hear it, they do not replicate and clients do not find it.
    for (const name of this.peers.names) void this.#beat(name);
  }

  async #endReign(because: string): Promise<void> {
    const reign = this.#reign;
    if (reign === undefined) return;
    this.#reign = undefined;
    this.#leaseUntilMs = 0;
    this.#primary = undefined;
    await reign.end(because);
    this.options.onEvent('role', `no longer primary of generation ${reign.generation}: ${because}`);
  }

  /** Stops being primary. */
  async stepDown(because: string): Promise<void> {
    await this.#lock.run(() => this.#endReign(because));
  }

  /** Keeps this centre from standing for a while: another one is to go first. */
  yieldFor(ms: number): void {
    this.#standNotBeforeMs = this.options.clock.monotonicMs() + ms;
  }

  // ---- replication

  /** Takes in entries. */
  async onReplicate(batch: Replicate): Promise<ReplicateAnswer> {
    return this.#replicated(batch.from, batch.generation, async () =>
      batch.probe === true ? 'applied' : this.#applier.apply(batch),
    );
  }

  /** Takes in part of a rebuild. */
  async onRebuild(step: Rebuild): Promise<ReplicateAnswer> {
    return this.#replicated(step.from, step.generation, async () => {
      await this.#applier.rebuild(step);
      return 'applied';
    });
  }

  #replicated(
    from: string,
    generation: number,
    action: () => Promise<'applied' | 'mismatch'>,
  ): Promise<ReplicateAnswer> {
    const answer = (outcome: ReplicateAnswer['outcome']): ReplicateAnswer => {
      const { position, bytes, rebuilding } = this.local.applied;
      return { outcome, generation: this.generation, position, bytes, rebuilding };
    };
    return this.#replication.run(async () => {
      if (!(await this.#follow(from, generation))) return answer('fenced');
      try {
        const outcome = await action();
        const last = this.#promotions.at(-1);
        if ((last?.generation ?? 0) < generation) this.#promotions = await readPromotions(this.options.store);
        return answer(outcome);
      } catch (error) {
        if (error instanceof HeptadError && error.code === 'FENCED') return answer('fenced');
        throw error;
      }
    });
  }

  /** Runs an action while no entry is being taken in. */
  betweenEntries<T>(action: () => Promise<T>): Promise<T> {
    return this.#replication.run(action);
  }

  /** Calls another centre. */
  call(
    name: string,
    method: string,
    message: unknown,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const { address } = this.options.topology.center(name);
    return this.options.transport.call(address, method, message, {
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Where this copy is, for tests of what a promotion may lose. */
  get position(): Position {
    return this.progress.position;
  }

  /** Ends a reign, if any. Nothing is promised any more, but nothing is taken back either. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.stepDown('this centre is shutting down');
  }
}
