// CPU pinning: which CPUs of the host the threads that are a machine's virtual CPUs may run on.

import type { Clock } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { runOrThrow } from '../system/command.ts';
import { virtualCpuThreads } from './qmp.ts';

const CPU_LIST = /^\d+(-\d+)?(,\d+(-\d+)?)*$/;

/** Binds every virtual CPU of the machine in `directory` to `cpuset` (`0-1,3`). Throws `INVALID_ARGUMENT`. */
export async function pinCpus(directory: string, cpuset: string, clock: Clock): Promise<void> {
  if (!CPU_LIST.test(cpuset)) {
    throw new ContainerError('INVALID_ARGUMENT', `"${cpuset}" is not a list of CPUs`, {
      hint: 'numbers and ranges, for example 0-1,3',
    });
  }
  for (const thread of await virtualCpuThreads(directory, clock)) {
    await runOrThrow('taskset', ['--cpu-list', '--pid', cpuset, String(thread)]).catch((cause: unknown) => {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot pin virtual CPUs to ${cpuset}: this machine does not have them all`,
        {
          cause,
        },
      );
    });
  }
}
