// Virtual time: nothing happens until the simulation moves it, and then everything happens in one exact order.

import type { Clock, Instant, Timer } from '../ports/clock.ts';
import { eventLoopTurn } from '../ports/node/turn.ts';
import { sleepByTimer } from '../ports/sleep.ts';

interface Event extends Timer {
  atMs: number;
  /** Breaks ties: of two events at the same time the one set first runs first. */
  sequence: number;
  cancelled: boolean;
  readonly run: () => void;
}

/** 2026-01-01T00:00:00Z: a wall time like any other. */
const DEFAULT_START: Instant = 1_767_225_600_000;

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}

/** A binary heap of events, earliest first. */
class EventQueue {
  readonly #heap: Event[] = [];

  get earliest(): Event | undefined {
    return this.#heap[0];
  }

  push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, left)) child += 1;
      const smaller = heap[child];
      if (smaller === undefined || !before(smaller, last)) break;
      heap[index] = smaller;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

/**
 * A {@link Clock} that stands still until told to move.
 *
 * Timers run one by one in the order of their times; between two of them everything they made runnable is run to its
 * end, so that the order is the same in every run.
 *
 * @example
 * ```ts
 * import { VirtualClock } from '@heptad/core/sim';
 *
 * const clock = new VirtualClock();
 * let rang = false;
 * clock.timer(60_000, () => { rang = true; });
 * await clock.advance(60_000); // a minute passes at once
 * console.log(rang); // true
 * ```
 */
export class VirtualClock implements Clock {
  readonly #queue = new EventQueue();
  #monotonicMs = 0;
  #wallOffset: Instant;
  #sequence = 0;

  constructor(options: { start?: Instant } = {}) {
    this.#wallOffset = options.start ?? DEFAULT_START;
  }

  now(): Instant {
    return Math.floor(this.#wallOffset + this.#monotonicMs);
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepByTimer(this, ms, signal);
  }

  timer(ms: number, callback: () => void): Timer {
    return this.#schedule(ms, callback);
  }

  interval(ms: number, callback: () => void): Timer {
    const period = Math.max(1, ms);
    let current: Timer = this.#schedule(period, tick);
    let cancelled = false;
    const schedule = (): Timer => this.#schedule(period, tick);
    function tick(): void {
      callback();
      if (!cancelled) current = schedule();
    }
    return {
      cancel: () => {
        cancelled = true;
        current.cancel();
      },
    };
  }

  #schedule(ms: number, run: () => void): Event {
    this.#sequence += 1;
    const event: Event = {
      atMs: this.#monotonicMs + Math.max(0, ms),
      sequence: this.#sequence,
      cancelled: false,
      run,
      cancel: () => {
        event.cancelled = true;
      },
    };
    this.#queue.push(event);
    return event;
  }

  /** Moves wall time without moving monotonic time, as a bad time server does. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  /** Monotonic time of the next timer; `undefined` when there is none. */
  get nextTimerMs(): number | undefined {
    while (this.#queue.earliest?.cancelled) this.#queue.pop();
    return this.#queue.earliest?.atMs;
  }

  /**
   * Runs the next timer, moving time to it, and everything it makes runnable. Answers whether there was one at or
   * before `untilMs`; time does not move otherwise.
   */
  async step(untilMs: number = Number.POSITIVE_INFINITY): Promise<boolean> {
    // Promises settled meanwhile may still set timers earlier than the next one.
    await eventLoopTurn();
    const next = this.nextTimerMs;
    if (next === undefined || next > untilMs) return false;
    const event = this.#queue.pop();
    this.#monotonicMs = Math.max(this.#monotonicMs, next);
    event?.run();
    await eventLoopTurn();
    return true;
  }

  /** Lets `ms` pass: runs every timer that falls due, also those that the due ones set. */
  async advance(ms: number): Promise<void> {
    const until = this.#monotonicMs + ms;
    while (await this.step(until));
    this.#monotonicMs = Math.max(this.#monotonicMs, until);
    await eventLoopTurn();
  }
}
