// When a container that ended is started again.

import type { ServiceSpec } from '@heptad/core';

/** First wait before a restart. */
export const RESTART_BASE_MS = 100;
/** Longest wait: a service that comes back is noticed within a minute. */
export const RESTART_MAX_MS = 60_000;
/** A container that ran this long starts its back-off anew. */
export const RESTART_RESET_MS = 10_000;

/** What to do about a container that ended. */
export type RestartDecision =
  | { readonly restart: true; readonly delayMs: number; readonly attempt: number }
  | { readonly restart: false; readonly because: string };

/** How it ended and what happened before. */
export interface RestartInput {
  readonly policy: ServiceSpec['restart'];
  readonly exitCode: number;
  /** Restarts in a row so far, without {@link RESTART_RESET_MS} of running in between. */
  readonly attempts: number;
  /** How long it ran this time; 0 when it did not even start. */
  readonly ranMs: number;
}

/**
 * Decides on a restart: 100 ms, doubled each time up to 60 s, anew after 10 s of running.
 *
 * Source: Docker's restart manager.
 *
 * @example
 * ```ts
 * import { decideRestart } from '@heptad/orchestrator';
 *
 * const decision = decideRestart({ policy: { condition: 'always' }, exitCode: 1, attempts: 2, ranMs: 50 });
 * if (!decision.restart || decision.delayMs !== 400) throw new Error('unexpected');
 * ```
 */
export function decideRestart(input: RestartInput): RestartDecision {
  const { policy, exitCode } = input;
  if (policy.condition === 'never') return { restart: false, because: 'its restart policy is "never"' };
  if (policy.condition === 'on-failure' && exitCode === 0) {
    return { restart: false, because: 'it ended with exit code 0 and its restart policy is "on-failure"' };
  }
  const attempts = input.ranMs >= RESTART_RESET_MS ? 0 : input.attempts;
  if (policy.maxAttempts !== undefined && attempts >= policy.maxAttempts) {
    return { restart: false, because: `it was restarted ${attempts} times, the most its policy allows` };
  }
  // 2 ** 20 is beyond the limit already; the cap keeps the power from growing without end.
  const delayMs = Math.min(RESTART_MAX_MS, RESTART_BASE_MS * 2 ** Math.min(attempts, 20));
  return { restart: true, delayMs, attempt: attempts + 1 };
}
