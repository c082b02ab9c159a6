// The health of one running container: probes in a row, counted into healthy and unhealthy.

import type { Clock, HealthCheck } from '@heptad/core';
import { type ProbeResult, type ProbeTarget, runProbe } from './probe.ts';

/** What is known of a container's health. */
export interface HealthState {
  readonly healthy: boolean;
  /** Failed so often that something must be done about it. */
  readonly failed: boolean;
  readonly message: string;
  /** Whether it was healthy at any time. */
  readonly everHealthy: boolean;
  readonly failures: number;
  /** How long it had run when a failure last counted, milliseconds. */
  readonly countedAt: number;
}

/** Where a container starts: adopted ones are as healthy as they were last known to be. */
export function initialHealth(wasHealthy: boolean): HealthState {
  return {
    healthy: wasHealthy,
    failed: false,
    message: wasHealthy ? 'healthy when last seen' : 'not probed yet',
    everHealthy: wasHealthy,
    failures: 0,
    countedAt: 0,
  };
}

/**
 * The health after one more probe. Pure.
 *
 * Until its first success a container is probed often (`startIntervalMs`) to be ready early; those probes must not make
 * it fail early. So failures then do not count in `startPeriodMs`, and afterwards at most once each `intervalMs`: a
 * slow starter has `startPeriodMs + retries * intervalMs`.
 *
 * @param sinceStartMs - how long the container has run, milliseconds.
 */
export function nextHealth(
  state: HealthState,
  result: ProbeResult,
  check: HealthCheck,
  sinceStartMs: number,
): HealthState {
  if (result.healthy) {
    return {
      healthy: true,
      failed: false,
      message: result.message,
      everHealthy: true,
      failures: 0,
      countedAt: 0,
    };
  }
  const starting = !state.everHealthy;
  const tooSoon = sinceStartMs - Math.max(state.countedAt, check.startPeriodMs) < check.intervalMs;
  if (starting && tooSoon) return { ...state, message: result.message };
  const failures = state.failures + 1;
  const failed = failures >= check.retries;
  return {
    ...state,
    failures,
    failed,
    healthy: state.healthy && !failed,
    message: result.message,
    countedAt: sinceStartMs,
  };
}

/** Probes a container until disposed of, and tells of every change. */
export class HealthMonitor implements Disposable {
  #state: HealthState;
  readonly #stop = new AbortController();

  constructor(options: {
    readonly check: HealthCheck;
    readonly target: ProbeTarget;
    readonly clock: Clock;
    /** How long it has run already. */
    readonly ranMs: number;
    readonly wasHealthy: boolean;
    readonly onChange: (state: HealthState) => void;
  }) {
    this.#state = initialHealth(options.wasHealthy);
    void this.#run(options);
  }

  get state(): HealthState {
    return this.#state;
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error('the health monitor was stopped'));
  }

  async #run(options: {
    readonly check: HealthCheck;
    readonly target: ProbeTarget;
    readonly clock: Clock;
    readonly ranMs: number;
    readonly onChange: (state: HealthState) => void;
  }): Promise<void> {
    const { check, target, clock } = options;
    const { signal } = this.#stop;
    const startedAt = clock.monotonicMs() - options.ranMs;
    try {
      while (!signal.aborted) {
        const result = await runProbe(check, target, signal);
        const before = this.#state;
        const after = nextHealth(before, result, check, clock.monotonicMs() - startedAt);
        this.#state = after;
        const changed =
          after.healthy !== before.healthy ||
          after.failed !== before.failed ||
          (!after.healthy && after.message !== before.message);
        if (changed) options.onChange(after);
        await clock.sleep(after.everHealthy ? check.intervalMs : check.startIntervalMs, signal);
      }
    } catch {
      // Only the abort leads here: the monitor was disposed of.
    }
  }
}
