// Waiting for the end of a container of a Docker Engine, and for its removal.

import type { Clock, ExitStatus } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { type DockerConnection, readAll } from './connection.ts';
import { exitOf, nameOf } from './container-info.ts';
import { type DockerContainer, parseContainer, parseWait } from './schema.ts';

const MAX_ANSWER_BYTES = 64 * 1024;

/** Resolves with how it ended once it does not run, or is removed. Rejects with the signal's reason. */
export async function waitFor(
  connection: DockerConnection,
  clock: Clock,
  container: DockerContainer,
  condition: 'not-running' | 'next-exit' | 'removed',
  signal?: AbortSignal,
): Promise<ExitStatus> {
  if (condition !== 'removed') {
    const exitCode = await waitAnswer(connection, container, condition, signal);
    return (await lastExit(connection, container)) ?? { exitCode, oomKilled: false, finishedAt: clock.now() };
  }
  // After the removal nobody can be asked how it ended: that is looked up while it is still there.
  const ended = waitAnswer(connection, container, 'not-running', signal)
    .then(() => lastExit(connection, container))
    .catch(() => undefined);
  const exitCode = await waitAnswer(connection, container, condition, signal);
  return (await ended) ?? { exitCode, oomKilled: false, finishedAt: clock.now() };
}

/** Whether it ends within `ms`. Rejects with the signal's reason. */
export async function endsWithin(
  connection: DockerConnection,
  clock: Clock,
  container: DockerContainer,
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const timeout = new AbortController();
  const timer = clock.timer(ms, () => timeout.abort());
  const either = signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, signal]);
  try {
    await waitAnswer(connection, container, 'not-running', either);
    return true;
  } catch (error) {
    signal?.throwIfAborted();
    if (timeout.signal.aborted) return false;
    // Removed meanwhile: it certainly does not run.
    if (isHeptadError(error, 'CONTAINER_NOT_FOUND')) return true;
    throw error;
  } finally {
    timer.cancel();
  }
}

async function waitAnswer(
  connection: DockerConnection,
  container: DockerContainer,
  condition: 'not-running' | 'next-exit' | 'removed',
  signal: AbortSignal | undefined,
): Promise<number> {
  const doing = `wait for container "${nameOf(container)}"`;
  // The engine answers 200 at once and sends the exit code, the body, when the container has ended.
  const response = await connection.stream({
    method: 'POST',
    path: `/containers/${container.Id}/wait`,
    query: { condition },
    doing,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    return parseWait(JSON.parse(await readAll(response, MAX_ANSWER_BYTES, doing)));
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

async function lastExit(
  connection: DockerConnection,
  container: DockerContainer,
): Promise<ExitStatus | undefined> {
  const path = `/containers/${container.Id}/json`;
  try {
    const now = parseContainer(
      await connection.json({ method: 'GET', path, doing: `inspect container "${nameOf(container)}"` }),
    );
    const created = Date.parse(now.Created);
    return exitOf(now) ?? { exitCode: 0, oomKilled: false, finishedAt: created };
  } catch (error) {
    if (isHeptadError(error, 'CONTAINER_NOT_FOUND')) return undefined;
    throw error;
  }
}
