// The clock of one simulated process: stops calling back while the process is paused, though time goes on.

import type { Clock, Instant, Timer } from '../ports/clock.ts';
import { sleepByTimer } from '../ports/sleep.ts';
import type { VirtualClock } from './virtual-clock.ts';

/**
 * A process that is stopped (SIGSTOP, a long garbage collection, a paused virtual machine) runs nothing; when it goes
 * on, everything that fell due meanwhile runs at once, late. That is what makes a leader believe in a lease that ended.
 */
export class ProcessClock implements Clock {
  readonly #clock: VirtualClock;
  readonly #due: (() => void)[] = [];
  readonly #timers = new Set<Timer>();
  #state: 'running' | 'paused' | 'dead' = 'running';

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get paused(): boolean {
    return this.#state === 'paused';
  }

  now(): Instant {
    return this.#clock.now();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepByTimer(this, ms, signal);
  }

  timer(ms: number, callback: () => void): Timer {
    let cancelled = false;
    const inner = this.#clock.timer(ms, () => {
      this.#timers.delete(timer);
      this.whenRunning(() => {
        if (!cancelled) callback();
      });
    });
    const timer: Timer = {
      cancel: () => {
        cancelled = true;
        this.#timers.delete(timer);
        inner.cancel();
      },
    };
    this.#timers.add(timer);
    return timer;
  }

  interval(ms: number, callback: () => void): Timer {
    let cancelled = false;
    const again = (): Timer =>
      this.timer(ms, () => {
        current = again();
        callback();
      });
    let current = again();
    return {
      cancel: () => {
        if (cancelled) return;
        cancelled = true;
        current.cancel();
      },
    };
  }

  /** Runs it now, or when the process goes on, or never when it is dead. */
  whenRunning(callback: () => void): void {
    if (this.#state === 'running') callback();
    else if (this.#state === 'paused') this.#due.push(callback);
  }

  /** Stops the process. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  /** Lets it go on: what fell due runs now, in its order. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    while (this.#state === 'running') {
      const next = this.#due.shift();
      if (next === undefined) return;
      next();
    }
  }

  /** Nothing of the process runs any more. */
  kill(): void {
    this.#state = 'dead';
    this.#due.length = 0;
    for (const timer of [...this.#timers]) timer.cancel();
  }
}
