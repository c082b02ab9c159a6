// The processes of a Docker container, by the columns that the engine's ps is asked for.

import type { Clock, ContainerProcess } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { identify, signalProcess } from '../system/processes.ts';
import type { DockerConnection } from './connection.ts';
import { nameOf } from './container-info.ts';
import type { DockerContainer } from './schema.ts';

// Every column is one word but the last, because the engine cuts the lines of ps at blanks.
const COLUMNS = 'pid,ppid,uid,nlwp,cputimes,rss,etimes,args';
const BYTES_PER_KIB = 1024;

const topSchema = z.object({ Processes: z.array(z.array(z.string())).nullish() });

/** See {@link ContainerRuntime.top}. */
export async function dockerTop(
  connection: DockerConnection,
  clock: Clock,
  container: DockerContainer,
): Promise<ContainerProcess[]> {
  const answer = await connection.json({
    method: 'GET',
    path: `/containers/${container.Id}/top`,
    query: { ps_args: `-eo ${COLUMNS}` },
    doing: `list the processes of container "${nameOf(container)}"`,
  });
  const now = clock.now();
  const processes = (topSchema.parse(answer).Processes ?? []).map((row): ContainerProcess => {
    const number = (column: number): number => Number(row[column] ?? 0);
    return {
      pid: number(0),
      parentPid: number(1),
      uid: number(2),
      threads: number(3),
      cpuMs: number(4) * 1000,
      residentBytes: number(5) * BYTES_PER_KIB,
      startedAt: now - number(6) * 1000,
      command: row.slice(7).join(' '),
    };
  });
  const main = container.State.Pid;
  return processes.sort(
    (one, other) => Number(other.pid === main) - Number(one.pid === main) || one.pid - other.pid,
  );
}

/** Signals every process of a container. The engine only knows the main one; the others are found by their host pid. */
export async function signalAll(
  connection: DockerConnection,
  clock: Clock,
  container: DockerContainer,
  signal: number,
): Promise<void> {
  const processes = await dockerTop(connection, clock, container);
  const targets = processes.map(({ pid }) => identify(pid));
  // The main process is certainly there: not to find it means that the pids are those of another machine.
  if (identify(container.State.Pid) === undefined) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot signal all processes of container "${nameOf(container)}": its processes are not on this machine`,
      { hint: 'run beside the Docker daemon, or signal the main process only', details: { driver: 'oci' } },
    );
  }
  for (const target of targets) if (target !== undefined) signalProcess(target, signal);
}
