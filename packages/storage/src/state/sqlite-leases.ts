// Deadlines of leases in the SQLite store: monotonic, in memory, armed anew at each start.

import { type Clock, type GrantedLease, leaseNotFoundError, type Timer } from '@heptad/core';

interface Held {
  readonly ttlMs: number;
  aliveUntilMs: number;
  timer: Timer;
}

/**
 * Which leases live and until when. Deadlines are not stored: after a restart every lease gets its whole time again,
 * for its holder could not have kept it alive meanwhile, and expiring it early would break the promise made.
 */
export class LeaseDeadlines {
  readonly #clock: Clock;
  readonly #expired: (id: string) => void;
  readonly #leases = new Map<string, Held>();

  constructor(clock: Clock, expired: (id: string) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** Begins, or begins again, the life of a lease. */
  arm(id: string, ttlMs: number): void {
    this.#leases.get(id)?.timer.cancel();
    const aliveUntilMs = this.#clock.monotonicMs() + ttlMs;
    this.#leases.set(id, { ttlMs, aliveUntilMs, timer: this.#timer(id, ttlMs) });
  }

  /** Counts its life from now. `LEASE_NOT_FOUND` when it is over. */
  extend(id: string): GrantedLease {
    const held = this.require(id);
    held.aliveUntilMs = this.#clock.monotonicMs() + held.ttlMs;
    return { id, ttlMs: held.ttlMs };
  }

  /** The lease, while it lives. A late timer does not lengthen a life. `LEASE_NOT_FOUND`. */
  require(id: string): Held {
    const held = this.#leases.get(id);
    if (held === undefined || this.#clock.monotonicMs() >= held.aliveUntilMs) throw leaseNotFoundError(id);
    return held;
  }

  /** `LEASE_NOT_FOUND` when it is over; says nothing of a lease that was granted in the same batch or never. */
  requireIfKnown(id: string): void {
    if (this.#leases.has(id)) this.require(id);
  }

  drop(id: string): void {
    this.#leases.get(id)?.timer.cancel();
    this.#leases.delete(id);
  }

  /** Stops all timers. */
  close(): void {
    for (const held of this.#leases.values()) held.timer.cancel();
    this.#leases.clear();
  }

  #timer(id: string, ms: number): Timer {
    return this.#clock.timer(
      ms,
      () => {
        const held = this.#leases.get(id);
        if (held === undefined) return;
        const left = held.aliveUntilMs - this.#clock.monotonicMs();
        if (left > 0) {
          held.timer = this.#timer(id, left);
          return;
        }
        // Gone from here at once: a keep-alive that comes while the deletion waits for its commit must not revive it.
        this.#leases.delete(id);
        this.#expired(id);
      },
      { unref: true },
    );
  }
}
