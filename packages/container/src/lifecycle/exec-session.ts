// A child process as an ExecSession: byte streams, an exit code, and death on timeout or abort.

import type { ChildProcess } from 'node:child_process';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import type { Clock, ExecOptions, ExecSession, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { validateSize } from './validate-exec.ts';

/** What the driver knows of the command it started. */
export interface ExecChild {
  readonly id: string;
  /** Without streams when it is detached. */
  readonly child: ChildProcess;
  /** Of the command, as far as it is known. */
  readonly pid: () => number | undefined;
  readonly clock: Clock;
  /** Kills the command and everything it started. */
  readonly killTree: () => Promise<void>;
  /** Runs once, after the command has ended. */
  readonly cleanUp: () => Promise<void>;
  /** Turns a failure to start the child into the error to throw. */
  readonly startError?: (error: Error) => Error;
  /** Turns the end of the child into the command's exit code. */
  readonly exitCode: (code: number | null, signal: NodeJS.Signals | null) => number | Error;
  /** Of one with a terminal. */
  readonly resize?: (size: TerminalSize) => Promise<void>;
}

/** Wires streams, standard input, timeout and abort around a started command. */
export function execSession(exec: ExecChild, options: ExecOptions): ExecSession {
  const { child, clock } = exec;
  let killedFor: unknown;
  const kill = (reason: unknown): void => {
    killedFor ??= reason;
    exec.killTree().catch(() => child.kill('SIGKILL'));
  };
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : clock.timer(options.timeoutMs, () => kill(timeoutError(options)), { unref: true });
  const onAbort = (): void => kill(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted === true) onAbort();
  if (child.stdin !== null) {
    // A command that ends without reading its input is judged by its exit code, not by our broken pipe.
    child.stdin.on('error', () => undefined);
    feed(child.stdin, options.stdin).catch((error: unknown) => kill(error));
  }
  const { promise: exit, resolve, reject } = Promise.withResolvers<number>();
  child.once('error', (error) => reject(exec.startError?.(error) ?? error));
  child.once('exit', (code, signal) => {
    timer?.cancel();
    options.signal?.removeEventListener('abort', onAbort);
    exec.cleanUp().then(
      () => {
        if (killedFor !== undefined) return reject(killedFor);
        const result = exec.exitCode(code, signal);
        if (result instanceof Error) reject(result);
        else resolve(result);
      },
      (error: unknown) => reject(error),
    );
  });
  // A caller that only reads the streams must not bring the process down with an unhandled rejection.
  exit.catch(() => undefined);
  return {
    id: exec.id,
    get pid() {
      return exec.pid();
    },
    stdout: bytes(child.stdout),
    stderr: bytes(child.stderr),
    exit,
    resize: async (size) => {
      if (exec.resize === undefined) throw noTerminal(options);
      validateSize(size, `resize the terminal of ${options.command[0] ?? ''}`);
      await exec.resize(size);
    },
  };
}

function noTerminal(options: ExecOptions): ContainerError {
  return new ContainerError(
    'INVALID_ARGUMENT',
    `cannot resize the terminal of ${options.command[0] ?? ''}: it has none`,
    { hint: 'exec it with "tty"' },
  );
}

function timeoutError(options: ExecOptions): ContainerError {
  return new ContainerError(
    'TIMEOUT',
    `exec of ${options.command[0] ?? ''} was killed: it ran longer than ${options.timeoutMs} ms`,
    { hint: 'give it a larger timeoutMs', details: { timeoutMs: options.timeoutMs } },
  );
}

async function feed(target: Writable, input: ExecOptions['stdin']): Promise<void> {
  if (input instanceof Uint8Array) {
    target.end(input);
    return;
  }
  for await (const chunk of input ?? []) {
    if (target.destroyed) return;
    if (!target.write(chunk)) await drained(target);
  }
  target.end();
}

function drained(target: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      target.off('drain', done);
      target.off('close', done);
      resolve();
    };
    target.once('drain', done);
    target.once('close', done);
  });
}

/** Read from now on: what nobody reads when a child ends, Node throws away. */
function bytes(stream: Readable | null): AsyncGenerator<Uint8Array> {
  const kept = stream?.pipe(new PassThrough());
  return (async function* () {
    for await (const chunk of kept ?? []) {
      if (chunk instanceof Uint8Array) yield chunk;
    }
  })();
}

/** All bytes of a stream as text, cut at `maxBytes`. */
export async function readText(stream: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    if (size < maxBytes) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString('utf8');
}
