// Runs the platform as a user does: `npm start` in the checkout, Ctrl-C to stop it, ./heptad to look at it.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, type TestPlace } from './platform.ts';

/** A running `npm start`. */
export interface RunningPlatform {
  /** Everything it printed so far. */
  readonly output: () => string;
  /** The first administrator's password, printed at the first start. */
  readonly password: () => string;
  /** Ctrl-C: SIGINT to the whole foreground group, as a terminal sends it. Resolves with the exit code. */
  interrupt(): Promise<number>;
}

const READY_TEXT = 'following events';
const START_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 90_000;

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) =>
    child.once('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128))),
  );
}

/** Starts it and waits until it says that it is ready. */
export async function npmStart(place: TestPlace): Promise<RunningPlatform> {
  const child = spawn('npm', ['start'], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...place.environment },
  });
  let output = '';
  const exited = exitOf(child);
  const ready = new Promise<void>((resolve) => {
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
      if (output.includes(READY_TEXT)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
  });
  const first = await Promise.race([
    ready.then(() => 'ready' as const),
    exited,
    new Promise<'late'>((resolve) => setTimeout(() => resolve('late'), START_TIMEOUT_MS).unref()),
  ]);
  if (first !== 'ready') {
    if (first === 'late' && child.pid !== undefined) process.kill(-child.pid, 'SIGINT');
    throw new Error(
      `npm start ${first === 'late' ? 'was not ready in time' : `ended with ${first}`}:\n${output}`,
    );
  }
  return {
    output: () => output,
    password: () => /password:\s+(\S+)/.exec(output)?.[1] ?? '',
    interrupt: async () => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGINT');
      const late = new Promise<number>((_resolve, reject) =>
        setTimeout(
          () => reject(new Error(`npm start did not stop:\n${output.slice(-4000)}`)),
          STOP_TIMEOUT_MS,
        ).unref(),
      );
      return Promise.race([exited, late]);
    },
  };
}

/** What a command printed, and its exit code. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `./heptad ...words`. */
export function heptad(place: TestPlace, words: readonly string[], input?: string): Promise<CommandResult> {
  return runCommand(join(ROOT, 'heptad'), words, place.environment, input);
}

/** Runs a command in the checkout; never rejects. */
export function runCommand(
  command: string,
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
  input?: string,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      [...words],
      { cwd: ROOT, env: { ...process.env, ...environment }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) =>
        resolve({
          code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1,
          stdout,
          stderr,
        }),
    );
    child.stdin?.end(input ?? '');
  });
}

/** Runs `./heptad --json ...words` and parses what it prints; throws when it fails. */
export async function heptadJson<T>(place: TestPlace, words: readonly string[]): Promise<T> {
  const result = await heptad(place, ['--json', ...words]);
  if (result.code !== 0)
    throw new Error(`heptad ${words.join(' ')} ended with ${result.code}: ${result.stderr}`);
  return JSON.parse(result.stdout) as T;
}

/** Asks until the answer is good; throws the last failure after `timeoutMs`. */
export async function eventually<T>(
  ask: () => Promise<T>,
  good: (answer: T) => boolean,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (good(answer)) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error(
        `not so after ${timeoutMs} ms; the last answer was: ${last instanceof Error ? last.message : JSON.stringify(last)?.slice(0, 2000)}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
