// What an agent knows of one container, and the status it makes of it.

import type { ContainerInfo, ContainerResource, Instant } from '@heptad/core';
import { decideRestart, RESTART_RESET_MS } from '../plan/backoff.ts';

type Status = ContainerResource['status'];

/** The agent's own knowledge; the rest of a status is derived from it. */
export interface Observed {
  status: Status['status'];
  runtimeId: string | undefined;
  isolation: Status['isolation'];
  address: string | undefined;
  ready: boolean;
  readySince: Instant | undefined;
  /** Restarts in a row: it begins anew after 10 s of running. */
  restarts: number;
  exitCode: number | undefined;
  startedAt: Instant | undefined;
  restartAt: Instant | undefined;
  message: string;
}

/** Where a worker starts: what the last agent wrote. */
export function observedFrom(status: Status): Observed {
  return {
    status: status.status,
    runtimeId: status.runtimeId,
    isolation: status.isolation,
    address: status.address,
    ready: status.ready,
    readySince: status.readySince,
    restarts: status.restarts,
    exitCode: status.exitCode,
    startedAt: status.startedAt,
    restartAt: status.restartAt,
    message: status.message,
  };
}

/** The status to publish. */
export function statusOf(observed: Observed, generation: number, before: Status): Status {
  const { status, ready, restarts, message } = observed;
  return {
    status,
    observedGeneration: generation,
    ready,
    restarts,
    message,
    conditions: before.conditions.filter((condition) => condition.type !== 'Scheduled'),
    ...(observed.runtimeId === undefined ? {} : { runtimeId: observed.runtimeId }),
    ...(observed.isolation === undefined ? {} : { isolation: observed.isolation }),
    ...(observed.address === undefined ? {} : { address: observed.address }),
    ...(observed.readySince === undefined ? {} : { readySince: observed.readySince }),
    ...(observed.exitCode === undefined ? {} : { exitCode: observed.exitCode }),
    ...(observed.startedAt === undefined ? {} : { startedAt: observed.startedAt }),
    ...(observed.restartAt === undefined ? {} : { restartAt: observed.restartAt }),
  };
}

/** It runs. */
export function seeRunning(observed: Observed, info: ContainerInfo, address: string | undefined): void {
  observed.status = 'Running';
  observed.runtimeId = info.id;
  observed.isolation = info.isolation;
  observed.address = info.address ?? address;
  observed.startedAt = info.startedAt ?? observed.startedAt;
  observed.restartAt = undefined;
  observed.exitCode = undefined;
}

/** Sets readiness, keeping since when. */
export function seeReady(observed: Observed, ready: boolean, now: Instant): void {
  if (ready && !observed.ready) observed.readySince = now;
  if (!ready) observed.readySince = undefined;
  observed.ready = ready;
}

/** How it ended, if it did, or why it could not start. */
export interface Ending {
  readonly exitCode: number;
  readonly ranMs: number;
  /** A sentence part: `ended with exit code 1`, `is unhealthy: ...`, `could not start: ...`. */
  readonly what: string;
  /** Ended by us because it was unhealthy, or never started: not a success, whatever the exit code. */
  readonly forced: boolean;
}

/** It ended: decides with the restart policy what becomes of it. */
export function seeEnd(
  observed: Observed,
  ending: Ending,
  policy: ContainerResource['spec']['template']['restart'],
  now: Instant,
): void {
  const exitCode = ending.forced && ending.exitCode === 0 ? 1 : ending.exitCode;
  const attempts = ending.ranMs >= RESTART_RESET_MS ? 0 : observed.restarts;
  const decision = decideRestart({ policy, exitCode, attempts, ranMs: ending.ranMs });
  seeReady(observed, false, now);
  observed.exitCode = exitCode;
  if (decision.restart) {
    observed.status = exitCode === 0 ? 'Pending' : 'Failed';
    observed.restarts = decision.attempt;
    observed.restartAt = now + decision.delayMs;
    observed.message = `it ${ending.what}; restart ${decision.attempt} after ${decision.delayMs} ms`;
    return;
  }
  observed.status = exitCode === 0 ? 'Succeeded' : 'Failed';
  observed.restartAt = undefined;
  observed.message =
    exitCode === 0 ? `it ${ending.what}` : `it ${ending.what} and is not restarted: ${decision.because}`;
}
