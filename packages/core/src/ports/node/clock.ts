// The real clock: the only place in Heptad's packages that touches the system's time and timers.

import type { Clock, Instant, Timer } from '../clock.ts';
import { sleepByTimer } from '../sleep.ts';

/** The longest delay a Node timer takes (2^31 - 1 ms, about 24.8 days); longer ones are chained. */
const LONGEST_TIMER_MS = 2_147_483_647;

class SystemTimer implements Timer {
  #handle: NodeJS.Timeout | undefined;
  #cancelled = false;

  constructor(ms: number, unref: boolean, callback: () => void) {
    this.#arm(Math.max(0, ms), unref, callback);
  }

  #arm(ms: number, unref: boolean, callback: () => void): void {
    const slice = Math.min(ms, LONGEST_TIMER_MS);
    this.#handle = setTimeout(() => {
      if (this.#cancelled) return;
      if (ms > slice) this.#arm(ms - slice, unref, callback);
      else callback();
    }, slice);
    if (unref) this.#handle.unref();
  }

  cancel(): void {
    this.#cancelled = true;
    clearTimeout(this.#handle);
  }
}

class SystemInterval implements Timer {
  readonly #handle: NodeJS.Timeout;

  constructor(ms: number, unref: boolean, callback: () => void) {
    this.#handle = setInterval(callback, Math.min(Math.max(1, ms), LONGEST_TIMER_MS));
    if (unref) this.#handle.unref();
  }

  cancel(): void {
    clearInterval(this.#handle);
  }
}

class SystemClock implements Clock {
  now(): Instant {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepByTimer(this, ms, signal);
  }

  timer(ms: number, callback: () => void, options: { unref?: boolean } = {}): Timer {
    return new SystemTimer(ms, options.unref ?? false, callback);
  }

  interval(ms: number, callback: () => void, options: { unref?: boolean } = {}): Timer {
    return new SystemInterval(ms, options.unref ?? false, callback);
  }
}

/**
 * The system's time. Wall time from the operating system, durations from its monotonic clock.
 *
 * @example
 * ```ts
 * import { systemClock } from '@heptad/core';
 *
 * const started = systemClock.monotonicMs();
 * await systemClock.sleep(10);
 * console.log(`slept ${Math.round(systemClock.monotonicMs() - started)} ms`);
 * ```
 */
export const systemClock: Clock = new SystemClock();
