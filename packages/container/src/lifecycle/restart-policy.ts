// Whether and when a container that ended is started again: pure, so that every rule can be tested by table.

import type { ContainerHealthCheck, ExitedBy, RestartPolicy } from '@heptad/core';

/** The first back-off; it doubles with every restart in a row, as in moby's restart manager. */
export const FIRST_BACK_OFF_MS = 100;
/** The longest back-off. */
export const LAST_BACK_OFF_MS = 60_000;
/** A container that ran this long ran well: the back-off begins anew. */
export const RAN_WELL_MS = 10_000;

/** What the decision rests on. */
export interface EndFacts {
  readonly policy: RestartPolicy | undefined;
  readonly healthCheck: ContainerHealthCheck | undefined;
  readonly exitCode: number;
  readonly exitedBy: ExitedBy;
  /** Ended by `stop`, or by `kill` with a signal that ends. */
  readonly stoppedByHand: boolean;
  /** Restarts in a row before this end. */
  readonly streak: number;
  /** How long it ran; 0 when it could not even be started. */
  readonly ranMs: number;
}

/** When to start it again, and the restarts in a row that make it so; undefined: not at all. */
export function nextRestart(
  facts: EndFacts,
): { readonly delayMs: number; readonly streak: number } | undefined {
  const streak = facts.ranMs >= RAN_WELL_MS ? 0 : facts.streak;
  if (!wantsRestart(facts, streak)) return undefined;
  // 2 ** 10 is already past the longest back-off; the exponent is bounded so that it stays a number.
  const delayMs = Math.min(LAST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** Math.min(streak, 10));
  return { delayMs, streak: streak + 1 };
}

function wantsRestart(facts: EndFacts, streak: number): boolean {
  if (facts.stoppedByHand) return false;
  // Unhealthy containers are the health check's to decide, whatever the policy.
  if (facts.exitedBy === 'unhealthy') return (facts.healthCheck?.onUnhealthy ?? 'restart') === 'restart';
  switch (facts.policy?.policy) {
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure':
      return facts.exitCode !== 0 && streak < (facts.policy.maxRetries ?? Number.POSITIVE_INFINITY);
    default:
      return false;
  }
}
