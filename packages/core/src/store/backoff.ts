// Growing, jittered waits between attempts at something that failed.

import type { Random } from '../ports/random.ts';

/** First and longest wait. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly longestMs: number;
}

/**
 * Exponential back-off with full jitter: each wait is a random part of a bound that doubles, so that many clients that
 * failed together do not come back together.
 *
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #failures = 0;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** How long to wait after one more failure. Never less than a tenth of the bound, so that it is a wait. */
  nextMs(): number {
    const { firstMs, longestMs } = this.#options;
    // 2^30 doublings are beyond any bound; the exponent is capped so that it stays a number.
    const bound = Math.min(longestMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.round(bound * (0.1 + 0.9 * this.#random.next()));
  }

  /** It worked: begin again with the first wait. */
  reset(): void {
    this.#failures = 0;
  }
}
