// Who is primary, as far as this centre goes: whom it voted for, follows and has promised to, or that it reigns itself. All of it
// changes under one lock; nothing waits for the network while holding it.

import { type Clock, HeptadError, type StateStore } from '@heptad/core';
import { answerVote, type VoteAnswer, type VoteRequest } from '../topology/ballot.ts';
import type { Topology } from '../topology/topology.ts';
import type { CenterEventKind } from './events.ts';
import { LagMeter } from './lag.ts';
import { PrimaryLease } from './lease.ts';
import type { LocalState } from './local-state.ts';
import type { CenterRole, Heartbeat, Progress } from './messages.ts';
import { Mutex } from './mutex.ts';
import { type Promotion, readPromotions } from './promotions.ts';
import { Reign, type ReignOptions } from './reign.ts';

/** What a tenure works with. */
export interface TenureOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly store: StateStore;
  readonly local: LocalState;
  readonly clock: Clock;
  readonly promotions: readonly Promotion[];
  readonly orphanGraceMs: number;
  readonly call: ReignOptions['call'];
  readonly onEvent: (kind: CenterEventKind, message: string) => void;
  /** A reign began: everybody is to hear of it at once. */
  readonly onReign: () => void;
}

/** The part a centre plays. */
export class Tenure {
  readonly lease: PrimaryLease;
  readonly #options: TenureOptions;
  readonly #lock = new Mutex();
  readonly #lag = new LagMeter();
  #promise: { readonly to: string; readonly untilMs: number } | undefined;
  #primary: string | undefined;
  #reign: Reign | undefined;
  #promotions: readonly Promotion[];
  #standNotBeforeMs = 0;
  #closed = false;
  /** Writes are refused while the reign is handed over. */
  handingOver = false;

  constructor(options: TenureOptions) {
    const { clock, topology, local } = options;
    this.#options = options;
    this.lease = new PrimaryLease({ clock, topology });
    this.#promotions = options.promotions;
    // What was promised before a restart is forgotten, so a whole lease is waited for. A centre that never voted or
    // followed anybody never promised anything.
    if (local.ballot.generation > 0) {
      const untilMs = clock.monotonicMs() + topology.timings.leaseTtlMs;
      this.#promise = { to: 'whom it followed before its restart', untilMs };
    }
  }

  get role(): CenterRole {
    const { self, topology } = this.#options;
    if (topology.center(self).witness) return 'witness';
    return this.#reign === undefined ? 'backup' : 'primary';
  }

  get generation(): number {
    return this.#options.local.ballot.generation;
  }

  get reign(): Reign | undefined {
    return this.#reign;
  }

  /** Whom this centre follows now: itself as primary. */
  get primary(): string | undefined {
    return this.#reign === undefined ? this.#primary : this.#options.self;
  }

  get promise(): { readonly to: string; readonly untilMs: number } | undefined {
    return this.#promise;
  }

  get promotions(): readonly Promotion[] {
    return this.#promotions;
  }

  get lag(): { readonly bytes: number; readonly ms: number } {
    return this.#lag.lag;
  }

  get standNotBeforeMs(): number {
    return this.#standNotBeforeMs;
  }

  get progress(): Progress {
    if (this.#reign !== undefined) return this.#reign.head.progress;
    const { position, bytes } = this.#options.local.applied;
    return { position, bytes };
  }

  /** Whether nobody else can be primary now. */
  get leaseHeld(): boolean {
    const { topology, clock } = this.#options;
    if (this.#reign === undefined) return false;
    // With nobody who could be promoted behind its back, a primary needs no lease.
    return !topology.automaticFailover.possible || clock.monotonicMs() < this.lease.untilMs;
  }

  /** Keeps this centre from standing for a while: another one is to go first. */
  yieldFor(ms: number): void {
    this.#standNotBeforeMs = this.#options.clock.monotonicMs() + ms;
  }

  // ---- following

  /** Follows a primary unless a later generation is known; resolves with whether it does. */
  follow(name: string, generation: number): Promise<boolean> {
    return this.#lock.run(async () => {
      if (generation < this.generation) return false;
      if (generation > this.generation) await this.#adopt(generation, name);
      if (this.#reign !== undefined) return false;
      const { clock, topology, onEvent } = this.#options;
      this.#promise = { to: name, untilMs: clock.monotonicMs() + topology.timings.leaseTtlMs };
      if (this.#primary !== name) {
        onEvent('role', `follows ${name}, primary of generation ${generation}`);
        this.#lag.restart(clock.monotonicMs());
      }
      this.#primary = name;
      this.#standNotBeforeMs = 0;
      return true;
    });
  }

  /** Compares its copy with what the followed primary said of its own. */
  measureLag(heartbeat: Heartbeat): void {
    const { clock, local } = this.#options;
    this.#lag.measure(local.applied, heartbeat.progress, clock.monotonicMs());
  }

  /** A later generation exists, of whomever. */
  adopt(generation: number): Promise<void> {
    return this.#lock.run(() => this.#adopt(generation, undefined));
  }

  // An own reign is over, and nothing earlier is ever followed again.
  async #adopt(generation: number, primary: string | undefined): Promise<void> {
    if (generation <= this.generation) return;
    await this.#endReign(`generation ${generation} has begun`);
    await this.#options.local.setBallot({ generation, votedFor: primary });
    this.#primary = primary;
  }

  /** The old primary gives up its promises in favour of a planned successor. */
  async release(from: string, generation: number): Promise<void> {
    await this.#lock.run(async () => {
      if (generation === this.generation && this.#promise?.to === from) this.#promise = undefined;
    });
  }

  /**
   * Runs an action of `generation`. Error: `FENCED`: having voted in, or followed, a later generation means never again to
   * acknowledge an earlier one.
   */
  exclusive(generation: number, action: () => Promise<void>): Promise<void> {
    return this.#lock.run(async () => {
      if (generation < this.generation) throw new HeptadError('FENCED', 'a later generation began');
      return action();
    });
  }

  /** Reads the promotions again when entries of a generation it has no record of came in. */
  async learnPromotions(generation: number): Promise<void> {
    const known = this.#promotions.at(-1)?.generation ?? 0;
    if (known < generation) this.#promotions = await readPromotions(this.#options.store);
  }

  // ---- voting and reigning

  /** Answers a request for a vote. */
  vote(request: VoteRequest): Promise<VoteAnswer & { readonly generation: number }> {
    return this.#lock.run(async () => {
      const { clock, self, topology, local } = this.#options;
      const { leaseTtlMs, leaseMarginMs } = topology.timings;
      const own =
        this.#reign === undefined ? undefined : { to: self, untilMs: this.lease.untilMs + leaseMarginMs };
      const answer = answerVote(request, {
        self,
        ballot: local.ballot,
        position: this.role === 'witness' ? undefined : this.progress.position,
        promise: own ?? this.#promise,
        nowMs: clock.monotonicMs(),
      });
      if (!answer.granted || request.trial) return { ...answer, generation: this.generation };
      await this.#endReign(`${request.candidate} was voted for`);
      await local.setBallot({ generation: request.generation, votedFor: request.candidate });
      this.#promise = { to: request.candidate, untilMs: clock.monotonicMs() + leaseTtlMs };
      return { ...answer, generation: this.generation };
    });
  }

  /** Begins the reign of a generation that was won by votes asked for at `sentMs`; resolves with whether it still could. */
  crown(
    promotion: Omit<Promotion, 'primary' | 'from' | 'at'>,
    voters: readonly string[],
    sentMs: number,
  ): Promise<boolean> {
    return this.#lock.run(async () => {
      const { self, local, clock } = this.#options;
      const { ballot } = local;
      if (ballot.generation !== promotion.generation || ballot.votedFor !== self || this.#closed)
        return false;
      const complete = { ...promotion, primary: self, from: this.#primary, at: clock.now() };
      this.lease.begin(voters, sentMs);
      this.#promise = undefined;
      await this.#beginReign(complete);
      return true;
    });
  }

  /** Begins the reign of the generation after `highest` without asking anybody. Only where nobody could be elected instead. */
  async crownByForce(highest: () => number, because: string): Promise<void> {
    await this.#lock.run(async () => {
      const { self, clock, local } = this.#options;
      const generation = highest() + 1;
      await this.#endReign('promoted by force');
      await local.setBallot({ generation, votedFor: self });
      this.#promise = undefined;
      const from = this.#primary;
      await this.#beginReign({ generation, primary: self, from, at: clock.now(), kind: 'manual', because });
    });
  }

  async #beginReign(promotion: Promotion): Promise<void> {
    const { self, store, onEvent, onReign } = this.#options;
    this.handingOver = false;
    this.#reign = await Reign.begin({
      ...this.#options,
      generation: promotion.generation,
      promotion,
      onFenced: (generation, by) => {
        onEvent('replication', `${by} refuses generation ${promotion.generation}: it follows ${generation}`);
        void this.adopt(generation);
      },
      onEvent: (message) => onEvent('replication', message),
    });
    this.#promotions = await readPromotions(store);
    this.#primary = self;
    onEvent('role', `PRIMARY of generation ${promotion.generation}: ${promotion.because}`);
    onReign();
  }

  async #endReign(because: string): Promise<void> {
    const reign = this.#reign;
    if (reign === undefined) return;
    this.#reign = undefined;
    this.lease.end();
    this.#primary = undefined;
    await reign.end(because);
    this.#options.onEvent('role', `no longer primary of generation ${reign.generation}: ${because}`);
  }

  /** Stops being primary. */
  async stepDown(because: string): Promise<void> {
    await this.#lock.run(() => this.#endReign(because));
  }

  /** Ends a reign, if any, and begins no other. Nothing is promised any more, but nothing is taken back either. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.stepDown('this centre is shutting down');
  }
}
