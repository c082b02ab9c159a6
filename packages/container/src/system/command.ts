// Runs one short-lived program of the system, with a deadline, bounded output and an error that names it.

import { spawn } from 'node:child_process';
import { ContainerError, errnoOf } from '../errors.ts';

/** How to run a program. */
export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment. Default: PATH only, so that nothing of ours leaks into it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  /** Killed after this long. Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What a program did. */
export interface CommandResult {
  /** 128 + signal number stands for death by signal, as in a shell. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

// Runtime and network tools answer in milliseconds; half a minute means something hangs.
const DEFAULT_TIMEOUT_MS = 30_000;
// These programs print a result of a few KiB; more is a fault, and must not fill memory.
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/** The search path of the tools this package drives: /usr/sbin is often missing from an ordinary user's. */
export const TOOL_PATH: string = [
  ...new Set([
    ...(process.env.PATH ?? '').split(':').filter((directory) => directory.startsWith('/')),
    '/usr/local/sbin',
    '/usr/local/bin',
    '/usr/sbin',
    '/usr/bin',
    '/sbin',
    '/bin',
  ]),
].join(':');

class BoundedText {
  private readonly chunks: Buffer[] = [];
  private size = 0;

  add(chunk: Buffer): void {
    if (this.size < MAX_OUTPUT_BYTES) this.chunks.push(chunk);
    this.size += chunk.length;
  }

  text(): string {
    return Buffer.concat(this.chunks).toString('utf8');
  }
}

/** Runs `file`; resolves whatever its exit code. Throws `RUNTIME_UNAVAILABLE` when it is not installed. */
export function run(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandResult>();
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const child = spawn(file, [...args], {
    cwd: options.cwd,
    env: { PATH: TOOL_PATH, ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const stdout = new BoundedText();
  const stderr = new BoundedText();
  child.stdout?.on('data', (chunk: Buffer) => stdout.add(chunk));
  child.stderr?.on('data', (chunk: Buffer) => stderr.add(chunk));
  child.on('error', (error) => reject(startError(file, error)));
  child.on('close', (code, signal) => {
    if (signal === 'SIGKILL' && child.killed) {
      reject(
        new ContainerError('TIMEOUT', `${file} ${args.join(' ')} did not finish within ${timeoutMs} ms`, {
          details: { file, timeoutMs },
        }),
      );
      return;
    }
    resolve({ exitCode: code ?? 128, stdout: stdout.text(), stderr: stderr.text() });
  });
  if (child.stdin) {
    // A program that ends without reading its input is judged by its exit code, not by our broken pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
  }
  return promise;
}

/** Runs `file` and throws `COMMAND_FAILED` with its own words when it does not exit with 0. */
export async function runOrThrow(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const result = await run(file, args, options);
  if (result.exitCode !== 0) {
    const said = (result.stderr.trim() || result.stdout.trim() || 'it said nothing').slice(0, 2_000);
    throw new ContainerError(
      'COMMAND_FAILED',
      `${file} ${args.join(' ')} failed with exit code ${result.exitCode}: ${said}`,
      { details: { file, exitCode: result.exitCode, stderr: said } },
    );
  }
  return result.stdout;
}

function startError(file: string, error: Error): Error {
  const errno = errnoOf(error);
  if (errno !== 'ENOENT' && errno !== 'EACCES') return error;
  return new ContainerError('RUNTIME_UNAVAILABLE', `cannot run ${file}: it is not installed`, {
    cause: error,
    hint: `install ${file}, or check that PATH leads to it`,
    details: { file },
  });
}
