// RetryBudget: retries may only ever be a small share of the traffic, so that they cannot make an outage worse.

import { type Clock, invalidArgument, systemClock } from '@heptad/core';
import { RollingWindow } from './rolling-window.ts';

/** How many retries a {@link RetryBudget} allows. Names of Gateway API GEP-3388. */
export interface RetryBudgetOptions {
  readonly clock?: Clock;
  /** Over how long requests and retries are counted. Default 10 s. */
  readonly intervalMs?: number;
  /** Retries a second allowed whatever the traffic, so that quiet clients may retry at all. Default 10. */
  readonly minRetryRate?: number;
  /** Retries allowed for each request, 0..1. Default 0.2. */
  readonly ratio?: number;
}

/**
 * Allows a retry while `retries <= minRetryRate * interval + ratio * requests`, both counted over the interval. A retry
 * counts from the moment it is decided, not when it is sent: else a burst waiting in back-off passes the limit.
 *
 * Source: Finagle's RetryBudget and tower's TpsBudget (10 s, 10 per second, 0.2).
 *
 * @example
 * ```ts
 * import { RetryBudget } from '@heptad/mesh';
 *
 * const budget = new RetryBudget({ ratio: 0.1 });
 * budget.deposit(); // a request
 * if (budget.withdraw()) console.log('may retry');
 * ```
 */
export class RetryBudget {
  readonly #window: RollingWindow;
  readonly #reserve: number;
  readonly #ratio: number;

  constructor(options: RetryBudgetOptions = {}) {
    const intervalMs = options.intervalMs ?? 10_000;
    const minRetryRate = options.minRetryRate ?? 10;
    const ratio = options.ratio ?? 0.2;
    if (!(minRetryRate >= 0) || !(ratio >= 0 && ratio <= 1)) {
      throw invalidArgument(
        `a retry budget needs minRetryRate >= 0 and ratio 0..1, got ${minRetryRate} and ${ratio}`,
      );
    }
    this.#window = new RollingWindow({
      clock: options.clock ?? systemClock,
      windowMs: intervalMs,
      buckets: 10,
    });
    this.#reserve = (minRetryRate * intervalMs) / 1_000;
    this.#ratio = ratio;
  }

  /** Counts a request (its first attempt). */
  deposit(): void {
    this.#window.add(1, 0);
  }

  /** Takes leave for one retry; `false`: the budget is spent, so the failure is final. */
  withdraw(): boolean {
    const { first: requests, second: retries } = this.#window.totals();
    if (retries + 1 > this.#reserve + this.#ratio * requests) return false;
    this.#window.add(0, 1);
    return true;
  }
}
