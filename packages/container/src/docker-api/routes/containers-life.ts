// Starting, ending, freezing, waiting for, renaming and changing containers.

import type { ContainerInfo } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../../errors.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { updateRequestSchema } from '../create-request.ts';
import { containerOf } from '../find-container.ts';
import { limitsOf } from '../spec-of-request.ts';

/** Docker's default between the stop signal and SIGKILL. */
const DEFAULT_GRACE_S = 10;

/** `POST /containers/{id}/start` */
export async function startContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  if (info.state === 'running') return call.send(304);
  if (info.state === 'paused') {
    throw new ContainerError('ILLEGAL_TRANSITION', 'cannot start a paused container, try unpause instead');
  }
  try {
    await context.runtime.start(info.id);
  } catch (error) {
    // Somebody else was quicker.
    if (isHeptadError(error, 'ILLEGAL_TRANSITION') && error.details.from === 'running') return call.send(304);
    throw startError(error);
  }
  call.send(204);
}

/** Docker's clients tell a missing program from other failures by the status. */
function startError(error: unknown): unknown {
  if (!isHeptadError(error, 'RUNTIME_FAILED')) return error;
  if (
    !/executable file not found|no such file or directory|not a directory|permission denied/.test(
      error.message,
    )
  )
    return error;
  return new ContainerError('INVALID_ARGUMENT', error.message, { cause: error });
}

/** `POST /containers/{id}/stop` */
export async function stopContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  if (info.state === 'created' || (info.state === 'stopped' && info.restartAt === undefined))
    return call.send(304);
  await stop(context, call, info);
  call.send(204);
}

/** `POST /containers/{id}/restart` */
export async function restartContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  if (info.state === 'running' || info.state === 'paused') await stop(context, call, info);
  await context.runtime.start(info.id);
  call.send(204);
}

async function stop(context: ApiContext, call: ApiCall, info: ContainerInfo): Promise<void> {
  const seconds = call.number('t') ?? context.settings.get(info.id)?.stopTimeout ?? DEFAULT_GRACE_S;
  // Less than nothing is for ever; a day comes to the same.
  await context.runtime.stop(info.id, { graceMs: (seconds < 0 ? 86_400 : seconds) * 1000 });
}

/** `POST /containers/{id}/kill` */
export async function killContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const signal = call.query.get('signal') || 'SIGKILL';
  await context.runtime.kill(info.id, /^\d+$/.test(signal) ? Number(signal) : signal);
  call.send(204);
}

/** `POST /containers/{id}/pause` */
export async function pauseContainer(context: ApiContext, call: ApiCall): Promise<void> {
  await context.runtime.pause((await containerOf(context, call)).id);
  call.send(204);
}

/** `POST /containers/{id}/unpause` */
export async function unpauseContainer(context: ApiContext, call: ApiCall): Promise<void> {
  await context.runtime.resume((await containerOf(context, call)).id);
  call.send(204);
}

/** `POST /containers/{id}/wait` */
export async function waitContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const condition = call.query.get('condition') || 'not-running';
  if (condition !== 'not-running' && condition !== 'next-exit' && condition !== 'removed') {
    throw new ContainerError('INVALID_ARGUMENT', `invalid condition: "${condition}"`);
  }
  const exit = context.runtime.wait(info.id, condition, call.closed);
  // Sent before the wait is over: a client starts the container only once it knows that its wait is heard.
  call.stream('application/json');
  try {
    const { exitCode } = await exit;
    call.response.end(`${JSON.stringify({ StatusCode: exitCode })}\n`);
  } catch (error) {
    if (call.closed.aborted) return;
    call.response.end(`${JSON.stringify({ StatusCode: -1, Error: { Message: String(error) } })}\n`);
  }
}

/** `POST /containers/{id}/rename` */
export async function renameContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  await context.runtime.rename(info.id, (call.query.get('name') ?? '').replace(/^\//, ''));
  call.send(204);
}

/** `POST /containers/{id}/update` */
export async function updateContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const request = await call.json(updateRequestSchema);
  const policy = request.RestartPolicy?.Name;
  if (policy !== undefined && policy !== null && policy !== '' && policy !== info.restart.policy) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      'cannot update the container: its restart policy is settled at creation',
      {
        hint: 'create it anew with the other policy',
      },
    );
  }
  await context.runtime.update(info.id, limitsOf(request));
  call.send(200, { Warnings: [] });
}

/** `POST /containers/{id}/resize` */
export async function resizeContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const size = sizeOf(call);
  // A client says its size before it starts the container, too; zero is one that does not know it.
  if (size !== undefined) await context.runtime.resize(info.id, size);
  call.send(200);
}

/** The size in a request; undefined for none. */
export function sizeOf(call: ApiCall): { columns: number; rows: number } | undefined {
  const columns = call.number('w') ?? 0;
  const rows = call.number('h') ?? 0;
  return columns < 1 || rows < 1
    ? undefined
    : { columns: Math.min(columns, 1000), rows: Math.min(rows, 1000) };
}

/** `GET /containers/{id}/top` */
export async function topContainer(context: ApiContext, call: ApiCall): Promise<void> {
  const info = await containerOf(context, call);
  const processes = await context.runtime.top(info.id);
  const now = context.clock.now();
  const clock = (ms: number): string => {
    const seconds = Math.floor(ms / 1000);
    const two = (value: number): string => String(value).padStart(2, '0');
    return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  };
  const started = (at: number): string =>
    now - at < 86_400_000
      ? new Date(at).toISOString().slice(11, 16)
      : new Date(at).toISOString().slice(5, 10);
  call.send(200, {
    Titles: ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD'],
    Processes: processes.map((each) => [
      String(each.uid),
      String(each.pid),
      String(each.parentPid),
      '0',
      started(each.startedAt),
      '?',
      clock(each.cpuMs),
      each.command,
    ]),
  });
}
