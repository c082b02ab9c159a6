// How often and how long a registry is asked again: bounded, with jitter, and never sooner than it said.

import type { Clock, Random } from '@heptad/core';
import type { HttpResponse } from './http.ts';

/** Bounds of trying again. */
export interface RetryOptions {
  /** Times a request is sent before its failure counts, and times in a row a download may gain nothing. Default 5. */
  readonly attempts: number;
  /** First pause; it doubles each time. Default 200 ms. */
  readonly firstDelayMs: number;
  /** Longest pause of our own choice. Default 10 s. */
  readonly maxDelayMs: number;
  /** Longest `Retry-After` that is waited for; a registry that asks for more is reported instead. Default 60 s. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryOptions = {
  attempts: 5,
  firstDelayMs: 200,
  maxDelayMs: 10_000,
  maxRetryAfterMs: 60_000,
};

// Answers that say "later", not "no".
const RETRYABLE: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Whether the same request may succeed later. */
export function isRetryableStatus(status: number): boolean {
  return RETRYABLE.has(status);
}

/** Milliseconds of a `Retry-After` header: seconds or a date. Undefined when absent or not understood. */
export function retryAfterMs(response: Pick<HttpResponse, 'header'>, now: number): number | undefined {
  const text = response.header('retry-after')?.trim();
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

/**
 * The pause before attempt `attempt` (1 is the first repetition): exponential with full jitter, so that clients that
 * failed together do not return together; at least what the registry asked for.
 */
export function delayMs(attempt: number, options: RetryOptions, random: Random, askedMs = 0): number {
  const bound = Math.min(options.maxDelayMs, options.firstDelayMs * 2 ** Math.min(attempt - 1, 30));
  return Math.max(askedMs, Math.round(bound * (0.5 + random.next() / 2)));
}

/** Sleeps before the next attempt. Rejects with the signal's reason. */
export async function pause(
  attempt: number,
  options: RetryOptions,
  ports: { readonly clock: Clock; readonly random: Random },
  askedMs?: number,
  signal?: AbortSignal,
): Promise<void> {
  await ports.clock.sleep(delayMs(attempt, options, ports.random, askedMs), signal);
}
