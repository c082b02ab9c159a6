// What the results of health checks make of a container's health: pure, by the rules of moby's daemon/health.go.

import type { ContainerHealth, ContainerHealthCheck, HealthResult } from '@heptad/core';

/** A check with its defaults filled in. */
export type SettledHealthCheck = Required<ContainerHealthCheck>;

const DEFAULTS: Omit<SettledHealthCheck, 'command'> = {
  intervalMs: 30_000,
  timeoutMs: 30_000,
  retries: 3,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
  onUnhealthy: 'restart',
};
/** Results kept. */
export const MAX_RESULTS = 5;
/** Bytes kept of what a check writes. */
export const MAX_OUTPUT_BYTES = 4096;

/** Health before the first check. */
export const STARTING: ContainerHealth = { status: 'starting', failingStreak: 0, results: [] };

/** Fills in the defaults. */
export function settleHealthCheck(check: ContainerHealthCheck): SettledHealthCheck {
  return { ...DEFAULTS, ...check };
}

/** Health after one more result. `startedAt` is the container's. */
export function nextHealth(
  health: ContainerHealth,
  result: HealthResult,
  check: SettledHealthCheck,
  startedAt: number,
): ContainerHealth {
  const results = [...health.results, result].slice(-MAX_RESULTS);
  if (result.exitCode === 0) return { status: 'healthy', failingStreak: 0, results };
  const excused = health.status === 'starting' && result.startedAt - startedAt < check.startPeriodMs;
  if (excused) return { ...health, results };
  const failingStreak = health.failingStreak + 1;
  return { status: failingStreak >= check.retries ? 'unhealthy' : health.status, failingStreak, results };
}

/** How long until the next check. */
export function nextCheckDelayMs(health: ContainerHealth, check: SettledHealthCheck, ranMs: number): number {
  const starting = health.status === 'starting' && ranMs < check.startPeriodMs;
  return starting ? Math.min(check.startIntervalMs, check.intervalMs) : check.intervalMs;
}
