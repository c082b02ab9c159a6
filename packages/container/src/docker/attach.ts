// Joining a Docker container's main process: a hijacked connection, with replay and half-close.

import { PassThrough } from 'node:stream';
import type { AttachOptions, AttachSession, LogLine, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { DockerConnection } from './connection.ts';
import { nameOf } from './container-info.ts';
import { copyRaw, demultiplex } from './demultiplex.ts';
import { dockerLogs } from './logs.ts';
import type { DockerContainer } from './schema.ts';

const NEWLINE = 0x0a;
const END_OF_TRANSMISSION = 0x04;
// What one client may leave unread in our memory before it is let go.
const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** See {@link ContainerRuntime.attach}. */
export async function dockerAttach(
  connection: DockerConnection,
  container: DockerContainer,
  options: AttachOptions,
): Promise<AttachSession> {
  const doing = `attach to container "${nameOf(container)}"`;
  const { OpenStdin, Tty } = container.Config;
  let lastByte = NEWLINE;
  const wantsStdin = options.stdin === true;
  if (wantsStdin && !OpenStdin && !Tty) {
    throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing} with standard input: it is closed`, {
      hint: 'create the container with tty; other open input is for the oci runtime',
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
  // A client that does not read must hold up nobody: the engine would wait for it, and with it everybody.
  const flow = Tty
    ? copyRaw(output, stdout, MAX_UNREAD_BYTES)
    : demultiplex(output, stdout, stderr, MAX_UNREAD_BYTES);
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
      lastByte = bytes.at(-1) ?? lastByte;
      await new Promise<void>((resolve, reject) => {
        socket.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    },
    end: async () => {
      if (!wantsStdin) throw noInput(doing);
      // A terminal's input has no end but the one that is typed.
      const end = Tty ? endOfInput(lastByte) : new Uint8Array();
      await new Promise<void>((resolve) => socket.write(end, () => resolve()));
      if (!Tty) socket.end();
    },
    detach,
  };
}

/** What ends the input of a terminal: ctrl-D, once more when a line is unfinished, since the first only hands that on. */
export function endOfInput(lastByte: number): Uint8Array {
  return Uint8Array.from(
    lastByte === NEWLINE ? [END_OF_TRANSMISSION] : [END_OF_TRANSMISSION, END_OF_TRANSMISSION],
  );
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

const MAX_SIZE = 1000;

/** Gives a terminal its size: of a container (`/containers/ID`) or of an exec (`/exec/ID`). */
export async function resizeTerminal(
  connection: DockerConnection,
  path: string,
  size: TerminalSize,
  doing: string,
): Promise<void> {
  const fits = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= MAX_SIZE;
  if (!fits(size.columns) || !fits(size.rows)) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot ${doing}: ${size.columns} x ${size.rows} is not a size`,
      {
        hint: `columns and rows are whole numbers from 1 to ${MAX_SIZE}`,
      },
    );
  }
  await connection.status({
    method: 'POST',
    path: `${path}/resize`,
    query: { h: size.rows, w: size.columns },
    doing,
  });
}
