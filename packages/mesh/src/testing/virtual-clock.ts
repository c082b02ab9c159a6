// VirtualClock: a clock that stands still until a test moves it. For tests of this package only.

import type { Clock, Instant, Timer } from '@heptad/core';

interface Pending {
  at: number;
  callback: () => void;
  everyMs: number | undefined;
}

/** Time that passes only by {@link advance}; timers fire in order on the way. */
export class VirtualClock implements Clock {
  #ms = 1_000_000;
  readonly #pending = new Set<Pending>();

  now(): Instant {
    return Math.floor(this.#ms);
  }

  monotonicMs(): number {
    return this.#ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const timer = this.timer(ms, resolve);
      signal?.addEventListener('abort', () => {
        timer.cancel();
        reject(signal.reason);
      });
    });
  }

  timer(ms: number, callback: () => void): Timer {
    return this.#add({ at: this.#ms + ms, callback, everyMs: undefined });
  }

  interval(ms: number, callback: () => void): Timer {
    return this.#add({ at: this.#ms + ms, callback, everyMs: ms });
  }

  /** Lets `ms` pass. */
  advance(ms: number): void {
    const end = this.#ms + ms;
    for (;;) {
      const due = [...this.#pending].filter((one) => one.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#ms = due.at;
      if (due.everyMs === undefined) this.#pending.delete(due);
      else due.at += due.everyMs;
      due.callback();
    }
    this.#ms = end;
  }

  #add(pending: Pending): Timer {
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }
}
