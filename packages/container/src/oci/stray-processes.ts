// Helpers of a container's creation whose starter died: shim, runtime and network plugins, known by the id they were given.

import { readdir } from 'node:fs/promises';
import type { Clock, ContainerId } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { readTextIfAny } from '../system/files.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';

// A process killed while it waits for the kernel is gone within milliseconds; half a second is a stuck one.
const MAX_ROUNDS = 50;
const ROUND_MS = 10;

/** Ends every process that carries the whole id in its command line or environment, which only helpers of ours do. */
export async function endProcessesOf(id: ContainerId, clock: Clock): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const found = await processesNaming(id);
    if (found.length === 0) return;
    for (const process of found) signalProcess(process, 9);
    await clock.sleep(ROUND_MS);
  }
  throw new ContainerError('CONTAINER_STUCK', `helpers of container ${id.slice(0, 12)} do not end`, {
    retryable: true,
  });
}

async function processesNaming(id: ContainerId): Promise<ProcessIdentity[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [command, environment] = await Promise.all([
        readTextIfAny(`/proc/${pid}/cmdline`),
        readTextIfAny(`/proc/${pid}/environ`),
      ]);
      return command?.includes(id) || environment?.includes(id) ? identify(Number(pid)) : undefined;
    }),
  );
  return found.filter((process) => process !== undefined);
}
