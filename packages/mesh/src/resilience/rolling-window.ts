// RollingWindow: counts over the last N milliseconds, in a ring of buckets that expires by itself.

import { type Clock, invalidArgument } from '@heptad/core';

/**
 * Two counters over a sliding window. A bucket carries the number of the time slice it was filled in, so an idle
 * window needs no timer to forget: a bucket of an older slice simply does not count. (Windows that only forget when
 * written to trip on failures that are an hour old.)
 */
export class RollingWindow {
  readonly #clock: Clock;
  readonly #bucketMs: number;
  readonly #slices: Float64Array;
  readonly #first: Float64Array;
  readonly #second: Float64Array;

  constructor(options: { clock: Clock; windowMs: number; buckets: number }) {
    if (!(options.windowMs > 0) || !Number.isInteger(options.buckets) || options.buckets < 1) {
      throw invalidArgument(
        `a rolling window needs windowMs > 0 and at least 1 bucket, got ${options.windowMs} and ${options.buckets}`,
      );
    }
    this.#clock = options.clock;
    this.#bucketMs = options.windowMs / options.buckets;
    this.#slices = new Float64Array(options.buckets).fill(-1);
    this.#first = new Float64Array(options.buckets);
    this.#second = new Float64Array(options.buckets);
  }

  /** Adds to the present bucket. */
  add(first: number, second: number): void {
    const slice = Math.floor(this.#clock.monotonicMs() / this.#bucketMs);
    const index = slice % this.#slices.length;
    if (this.#slices[index] !== slice) {
      this.#slices[index] = slice;
      this.#first[index] = 0;
      this.#second[index] = 0;
    }
    this.#first[index] = (this.#first[index] ?? 0) + first;
    this.#second[index] = (this.#second[index] ?? 0) + second;
  }

  /** Both sums over the window. */
  totals(): { first: number; second: number } {
    const newest = Math.floor(this.#clock.monotonicMs() / this.#bucketMs);
    const oldest = newest - this.#slices.length + 1;
    let first = 0;
    let second = 0;
    for (let index = 0; index < this.#slices.length; index += 1) {
      if ((this.#slices[index] ?? -1) < oldest) continue;
      first += this.#first[index] ?? 0;
      second += this.#second[index] ?? 0;
    }
    return { first, second };
  }

  /** Forgets everything. */
  clear(): void {
    this.#slices.fill(-1);
  }
}
