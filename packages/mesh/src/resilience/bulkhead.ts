// Bulkhead: at most so many calls at once and so many waiting, so that one slow part cannot take all the room.

import { HeptadError, invalidArgument } from '@heptad/core';

/** Room of a {@link Bulkhead}. */
export interface BulkheadOptions {
  /** Named in errors. Default `bulkhead`. */
  readonly name?: string;
  /** Calls at once, at least 1. */
  readonly concurrency: number;
  /** Calls that may wait. Default 0: refuse at once. */
  readonly queue?: number;
}

/**
 * Limits concurrency; waiting calls go first come, first served.
 *
 * @example
 * ```ts
 * import { Bulkhead } from '@heptad/mesh';
 *
 * const bulkhead = new Bulkhead({ name: 'reports', concurrency: 2, queue: 10 });
 * console.log(await bulkhead.run(async () => 'done'));
 * ```
 */
export class Bulkhead {
  readonly #name: string;
  readonly #concurrency: number;
  readonly #queueLimit: number;
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(options: BulkheadOptions) {
    this.#name = options.name ?? 'bulkhead';
    this.#concurrency = options.concurrency;
    this.#queueLimit = options.queue ?? 0;
    if (!Number.isInteger(this.#concurrency) || this.#concurrency < 1 || !(this.#queueLimit >= 0)) {
      throw invalidArgument(
        `a bulkhead needs concurrency >= 1 and queue >= 0, got ${options.concurrency} and ${options.queue}`,
      );
    }
  }

  /** Calls running now. */
  get running(): number {
    return this.#running;
  }

  /** Runs `operation` when there is room. Errors: `BULKHEAD_FULL` (retryable); the signal's reason when aborted waiting. */
  async run<T>(operation: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#running >= this.#concurrency) await this.#wait(signal);
    else this.#running += 1;
    try {
      return await operation();
    } finally {
      // A waiting call takes over this call's place, so `running` does not change hands with a gap.
      const next = this.#queue.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #wait(signal?: AbortSignal): Promise<void> {
    if (this.#queue.length >= this.#queueLimit) {
      throw new HeptadError(
        'BULKHEAD_FULL',
        `${this.#name} is full: ${this.#running} running, ${this.#queue.length} waiting`,
        {
          hint: 'try again later, or raise its concurrency or queue',
          retryable: true,
        },
      );
    }
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        const index = this.#queue.indexOf(enter);
        if (index >= 0) this.#queue.splice(index, 1);
        reject(signal?.reason);
      };
      this.#queue.push(enter);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
