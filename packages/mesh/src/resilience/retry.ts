// retry: another attempt when, and only when, it is safe, allowed by the budget and worth it.

import {
  type Clock,
  HeptadError,
  invalidArgument,
  isHeptadError,
  type Random,
  systemClock,
  systemRandom,
} from '@heptad/core';
import type { RetryBudget } from './retry-budget.ts';

/** Methods whose repetition changes nothing more (RFC 9110 §9.2.2). */
const IDEMPOTENT_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** Whether repeating a request with this method has the same effect as making it once (RFC 9110 §9.2.2). */
export function isIdempotentMethod(method: string): boolean {
  return IDEMPOTENT_METHODS.has(method);
}

/** Shape of the wait between attempts. */
export interface BackoffOptions {
  /** Before the first retry. Default 25 ms. */
  readonly baseMs?: number;
  /** At most. Default 250 ms. */
  readonly maxMs?: number;
}

/** Exponential back-off with full jitter (`random(0, min(max, base * 2^n))`), so that clients do not retry in step. */
export function backoffMs(retryNumber: number, random: Random, options: BackoffOptions = {}): number {
  const base = options.baseMs ?? 25;
  const max = options.maxMs ?? 250;
  return random.next() * Math.min(max, base * 2 ** Math.min(retryNumber - 1, 30));
}

/** How {@link retry} behaves. */
export interface RetryOptions extends BackoffOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Attempts in all, the first included. Default 3, at most 5 (gRPC A6). */
  readonly maxAttempts?: number;
  /** Shared by all calls to one destination; without one only `maxAttempts` limits. */
  readonly budget?: RetryBudget;
  /** Whether repeating is harmless even if an earlier attempt did take effect. Default false. */
  readonly idempotent?: boolean;
  /** Ends the waiting, too, at once. */
  readonly signal?: AbortSignal;
  /** Which failures may pass by themselves. Default: {@link HeptadError.retryable}, and unknown outcomes when idempotent. */
  readonly isRetryable?: (error: unknown) => boolean;
}

/** More attempts than this only add load (gRPC A6 caps at 5). */
const MAX_ATTEMPTS = 5;

/**
 * Runs `operation` until it succeeds, fails for good, or attempts or budget are spent; then throws the last error.
 * An operation whose outcome is unknown (`UNKNOWN_OUTCOME`) is repeated only when `idempotent`.
 *
 * Errors: `INVALID_ARGUMENT` for nonsense options; the signal's reason when aborted; else the last attempt's error.
 *
 * @example
 * ```ts
 * import { HeptadError } from '@heptad/core';
 * import { retry } from '@heptad/mesh';
 *
 * const value = await retry(
 *   async (attempt) => {
 *     if (attempt < 2) throw new HeptadError('BUSY', 'the shelf is busy', { retryable: true });
 *     return attempt;
 *   },
 *   { idempotent: true },
 * );
 * console.log(value); // 2
 * ```
 */
export async function retry<T>(
  operation: (attempt: number) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const maxAttempts = options.maxAttempts ?? 3;
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > MAX_ATTEMPTS) {
    throw invalidArgument(`maxAttempts must be a whole number from 1 to ${MAX_ATTEMPTS}, got ${maxAttempts}`);
  }
  options.budget?.deposit();
  for (let attempt = 1; ; attempt += 1) {
    options.signal?.throwIfAborted();
    try {
      return await operation(attempt);
    } catch (error) {
      const again =
        attempt < maxAttempts && !options.signal?.aborted && mayRepeat(error, options) && withdraw(options);
      if (!again) throw error;
      await clock.sleep(backoffMs(attempt, random, options), options.signal);
    }
  }
}

function mayRepeat(error: unknown, options: RetryOptions): boolean {
  // An unknown outcome of something not idempotent is never repeated, whatever the caller's classifier says.
  if (isHeptadError(error, 'UNKNOWN_OUTCOME')) return options.idempotent ?? false;
  if (options.isRetryable !== undefined) return options.isRetryable(error);
  return isHeptadError(error) && error.retryable;
}

function withdraw(options: RetryOptions): boolean {
  return options.budget === undefined || options.budget.withdraw();
}
