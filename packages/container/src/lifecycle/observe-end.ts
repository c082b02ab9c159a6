// How a container's main process ended: what its shim wrote down, waited for a moment, or that nobody knows.

import type { Clock, ExitStatus } from '@heptad/core';
import { isAlive } from '../system/processes.ts';
import type { RuntimeDriver } from './driver.ts';
import type { ContainerRecord } from './record.ts';

// The shim reports an exit code a moment after the process is gone; later than this it will not.
const EXIT_REPORT_GRACE_MS = 3_000;
const EXIT_REPORT_POLL_MS = 10;
/** The exit code of a container whose end nobody saw (reboot, killed shim), as in Docker. */
const UNKNOWN_EXIT_CODE = 255;

/** An end, and whether anybody saw it. */
export interface ObservedEnd {
  readonly exit: ExitStatus;
  readonly seen: boolean;
}

/** The end of a container's main process; undefined while it lives. */
export async function observeEnd(
  driver: RuntimeDriver,
  clock: Clock,
  record: ContainerRecord,
  bootId: string,
): Promise<ObservedEnd | undefined> {
  // Not started, by a driver that has no waiting init: there is nothing that could have ended.
  if (record.process === undefined) return undefined;
  const unknown = (): ObservedEnd => ({
    exit: { exitCode: UNKNOWN_EXIT_CODE, oomKilled: false, finishedAt: clock.now() },
    seen: false,
  });
  if (record.bootId !== bootId) return unknown();
  const deadline = clock.monotonicMs() + EXIT_REPORT_GRACE_MS;
  for (;;) {
    const found = await driver.observe(record);
    if (!found.alive) {
      const { exitCode, oomKilled, finishedAt } = found;
      return { exit: { exitCode, oomKilled, finishedAt }, seen: true };
    }
    if (isAlive(record.process)) return undefined;
    // Gone, but the shim has not yet written how. After a restart of ours the same shim may still be at it.
    if (clock.monotonicMs() > deadline) return unknown();
    await clock.sleep(EXIT_REPORT_POLL_MS);
  }
}
