// A delay line: what goes in comes out later, in order, and a burst is not delayed cumulatively.

import type { Clock, Random, Timer } from '@heptad/core';

/** Bytes in flight in one direction of one connection before its sender is paused. */
export const LINE_MAX_BYTES: number = 16 * 1024 * 1024;

/** What a {@link DelayLine} works with. */
export interface DelayLineOptions<Item> {
  readonly clock: Clock;
  readonly random: Random;
  /** Mean delay now, milliseconds; read per item, so that it can change while the line runs. */
  readonly delayMs: () => number;
  /** Each delay varies by up to this much either way. */
  readonly jitterMs: () => number;
  readonly deliver: (item: Item, delayedMs: number) => void;
}

/**
 * Delays items by their own arrival time (as Toxiproxy does): `release = max(arrival + delay, release of the one before)`.
 */
export class DelayLine<Item> {
  readonly #options: DelayLineOptions<Item>;
  readonly #queue: { item: Item; arrivedMs: number; releaseMs: number }[] = [];
  #timer: Timer | undefined;
  #lastReleaseMs = 0;

  constructor(options: DelayLineOptions<Item>) {
    this.#options = options;
  }

  push(item: Item): void {
    const { clock, random, delayMs, jitterMs } = this.#options;
    const arrivedMs = clock.monotonicMs();
    const wobble = (random.next() * 2 - 1) * jitterMs();
    const releaseMs = Math.max(arrivedMs + Math.max(0, delayMs() + wobble), this.#lastReleaseMs);
    this.#lastReleaseMs = releaseMs;
    this.#queue.push({ item, arrivedMs, releaseMs });
    if (this.#queue.length === 1) this.#arm();
  }

  /** Delivers all that waits at once, in order: a removed fault must not hold bytes back. */
  flush(): void {
    this.#timer?.cancel();
    this.#lastReleaseMs = 0;
    for (const entry of this.#queue) entry.releaseMs = 0;
    this.#release();
  }

  /** Forgets all that waits. */
  drop(): void {
    this.#timer?.cancel();
    this.#queue.length = 0;
  }

  #arm(): void {
    const next = this.#queue[0];
    if (next === undefined) return;
    const waitMs = Math.max(0, next.releaseMs - this.#options.clock.monotonicMs());
    // Timers fire up to a millisecond early; rounding up keeps the promise of *at least* the delay.
    this.#timer = this.#options.clock.timer(Math.ceil(waitMs), () => this.#release());
  }

  #release(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (let next = this.#queue[0]; next !== undefined && next.releaseMs <= nowMs; next = this.#queue[0]) {
      this.#queue.shift();
      this.#options.deliver(next.item, nowMs - next.arrivedMs);
    }
    this.#arm();
  }
}
