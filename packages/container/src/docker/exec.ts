// exec through a Docker Engine: a hijacked connection with half-close, the exit code, and a death for all it started.

import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { Clock, ExecOptions, ExecSession, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { endProcessesOf } from '../oci/stray-processes.ts';
import { endOfInput, resizeTerminal } from './attach.ts';
import type { DockerConnection, HijackedStream } from './connection.ts';
import { nameOf } from './container-info.ts';
import { copyRaw, demultiplex } from './demultiplex.ts';
import { type DockerContainer, parseExec, parseId } from './schema.ts';

/** Marks the processes of one exec, wherever they moved to, so that all of them can be ended. */
const MARK_VARIABLE = 'HEPTAD_EXEC';
// The engine closes the streams a moment before it has written down the exit code.
const MAX_EXIT_POLLS = 500;
const EXIT_POLL_MS = 10;

// How the engine begins what it writes into the streams of a command that never ran.
const FAILURE = /^(OCI runtime exec failed|exec failed|unable to start container process)/;
const MAX_FAILURE_BYTES = 2_000;
// Nobody watches a detached command but the one who asked for its exit code.
const DETACHED_POLL_MS = 250;
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** What an exec needs. */
export interface ExecContext {
  readonly connection: DockerConnection;
  readonly clock: Clock;
  readonly container: DockerContainer;
  /** Hears the id and the command before it runs, so that its events are known for what they are. */
  readonly onCreated: (id: string) => void;
}

/** Starts a command in a running container. */
export async function dockerExec(context: ExecContext, options: ExecOptions): Promise<ExecSession> {
  const { connection, clock, container } = context;
  const doing = `exec ${options.command[0]} in container "${nameOf(container)}"`;
  const mark = `heptad-exec-${randomBytes(16).toString('hex')}`;
  const tty = options.tty !== undefined && options.tty !== false;
  const attached = options.detach !== true;
  const environment = { ...options.environment, [MARK_VARIABLE]: mark };
  const id = parseId(
    await connection.json({
      method: 'POST',
      path: `/containers/${container.Id}/exec`,
      json: {
        AttachStdin: attached && options.stdin !== undefined,
        AttachStdout: attached,
        AttachStderr: attached,
        Tty: tty,
        Cmd: options.command,
        Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
        ...(options.user === undefined ? {} : { User: options.user }),
        ...(options.workingDirectory === undefined ? {} : { WorkingDir: options.workingDirectory }),
      },
      doing,
    }),
  );
  context.onCreated(id);
  const path = `/exec/${id}/start`;
  const exec = { connection, clock, id, mark, doing, tty };
  if (!attached) {
    await connection.status({ method: 'POST', path, json: { Detach: true, Tty: tty }, doing });
    return detached(exec, options);
  }
  const stream = await connection.hijack({ method: 'POST', path, json: { Detach: false, Tty: tty }, doing });
  if (tty) {
    // Before 1.42 a terminal gets its size only once it is there; a command that is over already needs none.
    const size = typeof options.tty === 'object' ? options.tty : DEFAULT_SIZE;
    await resizeTerminal(connection, `/exec/${id}`, size, doing).catch(() => undefined);
  }
  const { pid } = parseExec(await connection.json({ method: 'GET', path: `/exec/${id}/json`, doing }));
  return session({ ...exec, ...(pid > 0 ? { pid } : {}) }, stream, options);
}

interface StartedExec {
  readonly connection: DockerConnection;
  readonly clock: Clock;
  readonly id: string;
  readonly mark: string;
  readonly doing: string;
  readonly tty: boolean;
  readonly pid?: number;
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // A detached command has no streams.
}

function detached(exec: StartedExec, options: ExecOptions): ExecSession {
  const killing = killer(exec, options, () => undefined);
  const watch = async (): Promise<number> => {
    for (;;) {
      const { running, exitCode: code } = await look(exec);
      if (killing.reason() !== undefined) throw killing.reason();
      if (!running) return code;
      await exec.clock.sleep(DETACHED_POLL_MS);
    }
  };
  const exit = watch().finally(() => killing.done());
  exit.catch(() => undefined);
  return { id: exec.id, stdout: nothing(), stderr: nothing(), exit, resize: (size) => resize(exec, size) };
}

function session(exec: StartedExec, stream: HijackedStream, options: ExecOptions): ExecSession {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const killed = Promise.withResolvers<void>();
  // The connection goes last: its end is what wakes the reader of the exit code.
  const killing = killer(exec, options, () => {
    stream.socket.destroy();
    killed.resolve();
  });
  let firstWords = '';
  stream.output.on('data', (chunk: Buffer) => {
    if (firstWords.length < MAX_FAILURE_BYTES) firstWords += chunk.toString('latin1');
  });
  stream.output.pause();
  feed(stream, options.stdin, exec.tty).catch(killing.kill);
  const flow = exec.tty ? copyRaw(stream.output, stdout) : demultiplex(stream.output, stdout, stderr);
  // Raced, because output that nobody reads would hold up the news of its death.
  const exit = Promise.race([flow, killed.promise])
    .catch((error: unknown) => {
      if (killing.reason() === undefined) throw error;
    })
    .then(async () => {
      if (killing.reason() !== undefined) throw killing.reason();
      const code = await exitCode(exec);
      if (code === 126 || code === 127) throwIfNeverRan(exec, code, firstWords);
      return code;
    })
    .finally(() => {
      killing.done();
      stream.socket.destroy();
      stdout.end();
      stderr.end();
    });
  // A caller that only reads the streams must not bring the process down with an unhandled rejection.
  exit.catch(() => undefined);
  return {
    id: exec.id,
    ...(exec.pid === undefined ? {} : { pid: exec.pid }),
    stdout,
    stderr,
    exit,
    resize: (size) => resize(exec, size),
  };
}

async function resize(exec: StartedExec, size: TerminalSize): Promise<void> {
  if (!exec.tty) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot resize the terminal of "${exec.doing}": it has none`,
      {
        hint: 'exec it with "tty"',
      },
    );
  }
  await resizeTerminal(exec.connection, `/exec/${exec.id}`, size, exec.doing);
}

/** The engine tells of a command that never ran only by what it writes into its output. */
function throwIfNeverRan(exec: StartedExec, code: number, firstWords: string): void {
  // Without a terminal eight bytes of frame header come first.
  const words = firstWords.slice(exec.tty ? 0 : 8).slice(0, MAX_FAILURE_BYTES);
  if (!FAILURE.test(words)) return;
  throw new ContainerError('EXEC_FAILED', `cannot ${exec.doing}: Docker says: ${words.trim()}`, {
    ...(code === 127 ? { hint: 'the command is not in the image' } : {}),
    details: { exitCode: code },
  });
}

/** Ends the command and all it started, for its time limit or its signal. */
function killer(
  exec: StartedExec,
  options: ExecOptions,
  then: () => void,
): { kill: (reason: unknown) => void; reason: () => unknown; done: () => void } {
  let reason: unknown;
  const kill = (why: unknown): void => {
    if (reason !== undefined) return;
    reason = why ?? new ContainerError('TIMEOUT', `${exec.doing} was called off`);
    endProcessesOf(exec.mark, exec.clock)
      .catch(() => undefined)
      .finally(then);
  };
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : exec.clock.timer(options.timeoutMs, () => kill(timeoutError(exec, options)), { unref: true });
  const onAbort = (): void => kill(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted === true) onAbort();
  const done = (): void => {
    timer?.cancel();
    options.signal?.removeEventListener('abort', onAbort);
  };
  return { kill, reason: () => reason, done };
}

async function feed({ socket }: HijackedStream, input: ExecOptions['stdin'], tty: boolean): Promise<void> {
  let lastByte = 0x0a;
  // A command that ends without reading its input is judged by its exit code, not by our broken pipe.
  socket.on('error', () => undefined);
  for await (const chunk of input instanceof Uint8Array ? [input] : (input ?? [])) {
    lastByte = chunk.at(-1) ?? lastByte;
    if (socket.destroyed) return;
    if (!socket.write(chunk)) {
      await new Promise<void>((resolve) => {
        socket.once('drain', resolve);
        socket.once('close', resolve);
      });
    }
  }
  // A terminal's input has no end but the one that is typed; a closed connection would hang it up.
  if (tty && input !== undefined) {
    socket.write(endOfInput(lastByte));
    return;
  }
  if (tty) return;
  // Half-close: the command sees the end of its input, its output goes on.
  socket.end();
}

async function look(exec: StartedExec): Promise<ReturnType<typeof parseExec>> {
  const path = `/exec/${exec.id}/json`;
  return parseExec(await exec.connection.json({ method: 'GET', path, doing: exec.doing }));
}

async function exitCode(exec: StartedExec): Promise<number> {
  for (let poll = 0; poll < MAX_EXIT_POLLS; poll += 1) {
    const { running, exitCode: code } = await look(exec);
    if (!running) return code;
    await exec.clock.sleep(EXIT_POLL_MS);
  }
  throw new ContainerError(
    'RUNTIME_FAILED',
    `cannot ${exec.doing}: Docker closed its streams but says that it still runs`,
  );
}

function timeoutError(exec: StartedExec, options: ExecOptions): ContainerError {
  return new ContainerError(
    'TIMEOUT',
    `${exec.doing} was killed: it ran longer than ${options.timeoutMs} ms`,
    {
      hint: 'give it a larger timeoutMs',
      details: { timeoutMs: options.timeoutMs },
    },
  );
}
