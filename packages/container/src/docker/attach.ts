// Joining a Docker container's main process: a hijacked connection, with replay and half-close.

import { PassThrough } from 'node:stream';
import type { AttachOptions, AttachSession, LogLine, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { DockerConnection } from './connection.ts';
import { nameOf } from './container-info.ts';
import { copyRaw, demultiplex } from './demultiplex.ts';
import { dockerLogs } from './logs.ts';
import type { DockerContainer } from './schema.ts';

/** See {@link ContainerRuntime.attach}. */
export async function dockerAttach(
  connection: DockerConnection,
  container: DockerContainer,
  options: AttachOptions,
): Promise<AttachSession> {
  const doing = `attach to container "${nameOf(container)}"`;
  const { OpenStdin, Tty } = container.Config;
  const wantsStdin = options.stdin === true;
  if (wantsStdin && !OpenStdin && !Tty) {
    throw new ContainerError('NOT_SUPPORTED', `cannot ${doing} with standard input: it is closed`, {
      hint: 'create the container with openStdin or tty',
      details: { driver: 'docker' },
    });
  }
  const lines =
    typeof options.replay === 'number' ? await lastLines(connection, container, options.replay) : [];
  const { socket, output } = await connection.hijack({
    method: 'POST',
    path: `/containers/${container.Id}/attach`,
    query: { stream: true, stdin: wantsStdin, stdout: true, stderr: true, logs: options.replay === true },
    doing,
  });
  socket.on('error', () => undefined);
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  for (const { stream, text } of lines) (stream === 'stderr' ? stderr : stdout).write(`${text}\n`);
  const flow = Tty ? copyRaw(output, stdout) : demultiplex(output, stdout, stderr);
  // A stream cut by leaving is an end like any other.
  flow
    .catch(() => undefined)
    .finally(() => {
      stdout.end();
      stderr.end();
    });
  if (!wantsStdin) socket.end();
  const detach = async (): Promise<void> => {
    options.signal?.removeEventListener('abort', detach);
    socket.destroy();
  };
  options.signal?.addEventListener('abort', detach, { once: true });
  socket.once('close', () => options.signal?.removeEventListener('abort', detach));
  if (options.signal?.aborted === true) await detach();
  return {
    stdout,
    stderr,
    write: async (bytes) => {
      if (!wantsStdin) throw noInput(doing);
      await new Promise<void>((resolve, reject) => {
        socket.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    },
    end: async () => {
      if (!wantsStdin) throw noInput(doing);
      await new Promise<void>((resolve) => socket.end(() => resolve()));
    },
    detach,
  };
}

function noInput(doing: string): ContainerError {
  return new ContainerError(
    'NOT_SUPPORTED',
    `cannot write after "${doing}": standard input was not asked for`,
    {
      hint: 'attach with { stdin: true }',
      details: { driver: 'docker' },
    },
  );
}

async function lastLines(
  connection: DockerConnection,
  container: DockerContainer,
  tail: number,
): Promise<LogLine[]> {
  const source = { connection, id: container.Id, name: nameOf(container), tty: container.Config.Tty };
  const lines: LogLine[] = [];
  for await (const line of dockerLogs(source, { tail })) lines.push(line);
  return lines;
}

/** Gives a terminal its size: of a container (`/containers/ID`) or of an exec (`/exec/ID`). */
export async function resizeTerminal(
  connection: DockerConnection,
  path: string,
  size: TerminalSize,
  doing: string,
): Promise<void> {
  await connection.status({
    method: 'POST',
    path: `${path}/resize`,
    query: { h: size.rows, w: size.columns },
    doing,
  });
}
