// The primary's lease: until when nobody else can be primary, counted from what a majority of centres promised.

import type { Clock } from '@heptad/core';
import type { Topology } from '../topology/topology.ts';

/** The lease of one centre; over unless the centre is primary. */
export class PrimaryLease {
  readonly #clock: Clock;
  readonly #topology: Topology;
  /** When the request was sent that a centre last promised to. */
  readonly #promisedMs = new Map<string, number>();
  #untilMs = 0;

  constructor(options: { readonly clock: Clock; readonly topology: Topology }) {
    this.#clock = options.clock;
    this.#topology = options.topology;
  }

  /** Until when it lasts, on the monotonic clock. */
  get untilMs(): number {
    return this.#untilMs;
  }

  /** Begins with the votes of an election, all asked for at `sentMs`. */
  begin(voters: readonly string[], sentMs: number): void {
    const { leaseTtlMs, leaseMarginMs } = this.#topology.timings;
    this.#promisedMs.clear();
    for (const name of voters) this.#promisedMs.set(name, sentMs);
    this.#untilMs = sentMs + leaseTtlMs - leaseMarginMs;
  }

  /** A centre promised anew in answer to a heartbeat sent at `sentMs`. */
  renew(name: string, sentMs: number): void {
    this.#promisedMs.set(name, Math.max(sentMs, this.#promisedMs.get(name) ?? 0));
    const { leaseTtlMs, leaseMarginMs } = this.#topology.timings;
    const sent = [this.#clock.monotonicMs(), ...this.#promisedMs.values()].sort((a, b) => b - a);
    const oldestOfMajority = sent[this.#topology.majority - 1];
    if (oldestOfMajority === undefined) return;
    this.#untilMs = Math.max(this.#untilMs, oldestOfMajority + leaseTtlMs - leaseMarginMs);
  }

  /** The centre is not primary any more. */
  end(): void {
    this.#untilMs = 0;
  }
}
