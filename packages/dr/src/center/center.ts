// The protocol of one centre: its parts put together, the loop that beats and decides, and what other centres may ask of it.

import { type Clock, errorMessage, HeptadError, type Random, type StateStore } from '@heptad/core';
import type { ApplierHooks } from '../replicate/applier.ts';
import type { VoteAnswer, VoteRequest } from '../topology/ballot.ts';
import { type CenterView, type DecisionStep, decide } from '../topology/decide.ts';
import type { Position } from '../topology/position.ts';
import type { Topology } from '../topology/topology.ts';
import { campaign } from './campaign.ts';
import type { CenterEventKind } from './events.ts';
import { Heartbeats } from './heartbeats.ts';
import { Intake } from './intake.ts';
import { LocalState } from './local-state.ts';
import type {
  CenterRole,
  Heartbeat,
  HeartbeatAnswer,
  Progress,
  Rebuild,
  Replicate,
  ReplicateAnswer,
} from './messages.ts';
import { Peers } from './peers.ts';
import { type Promotion, readPromotions } from './promotions.ts';
import type { Reign } from './reign.ts';
import { sealBrokenReign } from './seal.ts';
import { Tenure } from './tenure.ts';
import type { Transport } from './transport.ts';

/** What a centre works with. */
export interface CenterProtocolOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly store: StateStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly hooks: ApplierHooks;
  readonly orphanGraceMs: number;
  readonly onEvent: (kind: CenterEventKind, message: string) => void;
}

/** The protocol. Made by {@link CenterProtocol.open}. */
export class CenterProtocol {
  readonly options: CenterProtocolOptions;
  readonly peers: Peers;
  readonly local: LocalState;
  readonly #tenure: Tenure;
  readonly #heartbeats: Heartbeats;
  readonly #intake: Intake;
  #decision: DecisionStep | undefined;
  #acting = false;
  #closed = false;

  private constructor(options: CenterProtocolOptions, local: LocalState, promotions: readonly Promotion[]) {
    const { self, topology, store, hooks } = options;
    this.options = options;
    this.local = local;
    this.peers = new Peers(self, topology);
    const call = this.call.bind(this);
    this.#tenure = new Tenure({
      ...options,
      local,
      promotions,
      call,
      // Until the others hear it, they do not replicate and clients do not find it.
      onReign: () => this.#heartbeats.beat(),
    });
    this.#heartbeats = new Heartbeats({ ...options, peers: this.peers, local, tenure: this.#tenure, call });
    this.#intake = new Intake({ tenure: this.#tenure, local, store, hooks });
  }

  /** Reads what the centre remembers. */
  static async open(options: CenterProtocolOptions): Promise<CenterProtocol> {
    const local = await LocalState.load(options.store);
    await sealBrokenReign(options.store, local);
    return new CenterProtocol(options, local, await readPromotions(options.store));
  }

  get role(): CenterRole {
    return this.#tenure.role;
  }

  get generation(): number {
    return this.#tenure.generation;
  }

  get reign(): Reign | undefined {
    return this.#tenure.reign;
  }

  /** Whom this centre follows now: itself as primary. */
  get primary(): string | undefined {
    return this.#tenure.primary;
  }

  get decision(): DecisionStep | undefined {
    return this.#decision;
  }

  get promotions(): readonly Promotion[] {
    return this.#tenure.promotions;
  }

  get progress(): Progress {
    return this.#tenure.progress;
  }

  /** Where this copy is, for tests of what a promotion may lose. */
  get position(): Position {
    return this.progress.position;
  }

  /** Of the lease, milliseconds; undefined for others than the primary. */
  get leaseLeftMs(): number | undefined {
    if (this.reign === undefined) return undefined;
    return Math.max(0, this.#tenure.lease.untilMs - this.options.clock.monotonicMs());
  }

  /** Whether nobody else can be primary now. */
  get leaseHeld(): boolean {
    return this.#tenure.leaseHeld;
  }

  /** Writes are refused while the reign is handed over. */
  get handingOver(): boolean {
    return this.#tenure.handingOver;
  }

  set handingOver(handingOver: boolean) {
    this.#tenure.handingOver = handingOver;
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
    this.#heartbeats.beat();
    this.#heartbeats.noteSuspicions(nowMs);
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
    const tenure = this.#tenure;
    const last = this.promotions.at(-1);
    return {
      self,
      role: this.role,
      generation: this.generation,
      position: this.progress.position,
      rebuilding: this.local.applied.rebuilding,
      nowMs,
      leaseUntilMs: tenure.lease.untilMs,
      promise: tenure.promise,
      primary: this.primary,
      peers: this.peers.views(nowMs),
      lag: tenure.lag,
      // To take up again what was one's own moves nothing, so nothing can flap.
      failoversAt:
        last?.primary === self
          ? []
          : this.promotions.filter(({ kind }) => kind === 'failover').map(({ at }) => at),
      wallNow: clock.now(),
      standNotBeforeMs: tenure.standNotBeforeMs,
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
      const last = this.promotions.at(-1);
      const kind = last === undefined ? 'first' : last.primary === this.options.self ? 'restart' : 'failover';
      await this.campaign(step.payload.generation, kind, step.because);
    }
  }

  /** Takes in a heartbeat. Error: `UNKNOWN_CENTER`. */
  async onHeartbeat(heartbeat: Heartbeat): Promise<HeartbeatAnswer> {
    const { clock, self } = this.options;
    if (heartbeat.from === self || !this.peers.names.includes(heartbeat.from)) {
      throw new HeptadError('UNKNOWN_CENTER', `${self} knows no centre "${heartbeat.from}"`);
    }
    this.peers.heard(heartbeat, clock.monotonicMs());
    if (heartbeat.role !== 'primary') return { generation: this.generation, promised: false };
    const promised = await this.#tenure.follow(heartbeat.from, heartbeat.generation);
    if (promised) this.#tenure.measureLag(heartbeat);
    return { generation: this.generation, promised };
  }

  /** The old primary gives up its promises in favour of a planned successor. */
  onRelease(from: string, generation: number): Promise<void> {
    return this.#tenure.release(from, generation);
  }

  /** Answers a request for a vote. */
  onVote(request: VoteRequest): Promise<VoteAnswer & { readonly generation: number }> {
    return this.#tenure.vote(request);
  }

  /** Takes in entries. */
  onReplicate(batch: Replicate): Promise<ReplicateAnswer> {
    return this.#intake.replicate(batch);
  }

  /** Takes in part of a rebuild. */
  onRebuild(step: Rebuild): Promise<ReplicateAnswer> {
    return this.#intake.rebuild(step);
  }

  /** Runs an action while no entry is being taken in. */
  betweenEntries<T>(action: () => Promise<T>): Promise<T> {
    return this.#intake.between(action);
  }

  /** Stands for a generation. Resolves with why it was not elected, or undefined when it was. */
  campaign(generation: number, kind: Promotion['kind'], because: string): Promise<string | undefined> {
    const options = { ...this.options, tenure: this.#tenure, others: this.peers.names };
    return campaign({ ...options, call: this.call.bind(this) }, generation, kind, because);
  }

  /** The latest generation that this centre has heard of. */
  get highestGeneration(): number {
    return Math.max(this.generation, ...this.view().peers.map(({ report }) => report?.generation ?? 0));
  }

  /** Promotes without asking anybody. Only where nobody could be elected instead. */
  promoteByForce(because: string): Promise<void> {
    return this.#tenure.crownByForce(() => this.highestGeneration, because);
  }

  /** Stops being primary. */
  stepDown(because: string): Promise<void> {
    return this.#tenure.stepDown(because);
  }

  /** Keeps this centre from standing for a while: another one is to go first. */
  yieldFor(ms: number): void {
    this.#tenure.yieldFor(ms);
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

  /** Ends a reign, if any. Nothing is promised any more, but nothing is taken back either. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#tenure.close();
  }
}
