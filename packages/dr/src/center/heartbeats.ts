// Heartbeats to all other centres, what their answers mean, and the suspicions that silence raises.

import type { Clock, Random } from '@heptad/core';
import type { Topology } from '../topology/topology.ts';
import type { CenterEventKind } from './events.ts';
import type { LocalState } from './local-state.ts';
import { type Heartbeat, heartbeatAnswerSchema } from './messages.ts';
import type { Peers } from './peers.ts';
import type { Tenure } from './tenure.ts';

/** Heartbeats to one peer that may be unanswered; more would only queue up behind a dead one. */
const HEARTBEATS_IN_FLIGHT = 4;

/** What heartbeats work with. */
export interface HeartbeatsOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly random: Random;
  readonly peers: Peers;
  readonly local: LocalState;
  readonly tenure: Tenure;
  readonly call: (name: string, method: string, message: unknown, timeoutMs: number) => Promise<unknown>;
  readonly onEvent: (kind: CenterEventKind, message: string) => void;
}

/** Beats for one centre. */
export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #incarnation: string;
  readonly #inFlight = new Map<string, number>();
  readonly #suspected = new Set<string>();

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
    this.#incarnation = options.random.uuid(options.clock.now());
  }

  /** Sends one to everybody. Does not wait. */
  beat(): void {
    for (const name of this.#options.peers.names) void this.#beat(name);
  }

  async #beat(name: string): Promise<void> {
    const { topology, clock, call, tenure } = this.#options;
    const pending = this.#inFlight.get(name) ?? 0;
    if (pending >= HEARTBEATS_IN_FLIGHT) return;
    this.#inFlight.set(name, pending + 1);
    // The lease counts from before the sending: the other side promises later than that.
    const sentMs = clock.monotonicMs();
    const { reign } = tenure;
    const heartbeat = this.#heartbeat(sentMs);
    try {
      const said = await call(name, 'heartbeat', heartbeat, topology.timings.requestTimeoutMs);
      const answer = heartbeatAnswerSchema.parse(said);
      if (answer.generation > tenure.generation) await tenure.adopt(answer.generation);
      if (answer.promised && reign !== undefined && reign === tenure.reign) tenure.lease.renew(name, sentMs);
    } catch {
      // Silence is what the detectors on both sides are for.
    } finally {
      this.#inFlight.set(name, (this.#inFlight.get(name) ?? 1) - 1);
    }
  }

  #heartbeat(nowMs: number): Heartbeat {
    const { self, peers, local, tenure } = this.#options;
    const { primary, role, reign, generation } = tenure;
    return {
      from: self,
      incarnation: this.#incarnation,
      generation: reign?.generation ?? generation,
      role,
      rebuilding: local.applied.rebuilding,
      suspects: peers.suspects(nowMs),
      ...(primary === undefined ? {} : { primary }),
      ...(role === 'witness' ? {} : { progress: tenure.progress }),
    };
  }

  /** Tells of suspicions that arose or ended since the last time. */
  noteSuspicions(nowMs: number): void {
    const { peers, onEvent } = this.#options;
    for (const { name, suspicion } of peers.views(nowMs)) {
      if (suspicion.suspected === this.#suspected.has(name)) continue;
      if (suspicion.suspected) this.#suspected.add(name);
      else this.#suspected.delete(name);
      const what = suspicion.suspected ? 'suspected' : 'heard again';
      onEvent('suspicion', `${name} is ${what}: ${suspicion.because}`);
    }
  }
}
