// Starts a container's shim, conmon, and speaks its start and sync pipes: it outlives us and records the exit code.

import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { TOOL_PATH } from '../system/command.ts';
import { readTextIfAny } from '../system/files.ts';

/** What conmon needs to know. */
export interface ConmonOptions {
  readonly conmon: string;
  readonly runtime: string;
  /** Global arguments of the runtime, such as `--root`. */
  readonly runtimeArguments: readonly string[];
  readonly id: string;
  readonly name: string;
  readonly bundle: string;
  /** conmon writes `<exitDirectory>/<id>` when the container ends. */
  readonly exitDirectory: string;
  /** conmon writes `exit` and `oom` here. */
  readonly persistDirectory: string;
  readonly logPath: string;
  /** conmon starts the log anew at this size: the last bound of a log that nobody rotates because we are dead. */
  readonly logMaxBytes: number;
  /** `terminal`: the process gets one; `open`: its standard input waits for clients; `closed`: /dev/null. */
  readonly stdin: 'terminal' | 'open' | 'closed';
  readonly clock: Clock;
}

// `runc create` takes 50 ms on an idle machine; a minute is a machine in trouble, as in Podman.
const CREATE_TIMEOUT_MS = 60_000;
// The sync pipe carries one line: a pid, or the runtime's error text.
const MAX_SYNC_BYTES = 256 * 1024;

const syncMessage = z.object({
  data: z.number().optional(),
  pid: z.number().optional(),
  message: z.string().optional(),
});
const runtimeLogLine = z.object({ level: z.string(), msg: z.string() });

/**
 * Creates the container and leaves it waiting for `start`; returns the pid of its init. Protocol of conmon 2.1,
 * `src/conmon.c`: one byte on the start pipe lets it go, one line of JSON on the sync pipe says how `create` went.
 */
export async function createWithConmon(options: ConmonOptions): Promise<number> {
  const errors = await open(join(options.bundle, 'conmon.stderr'), 'w', 0o600);
  try {
    const child = spawn(options.conmon, conmonArguments(options), {
      cwd: options.bundle,
      env: { PATH: TOOL_PATH, _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' },
      stdio: ['ignore', 'ignore', errors.fd, 'pipe', 'pipe'],
      // Its own session: a signal to our process group must not reach the shim before it has detached itself.
      detached: true,
    });
    const left = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code));
    });
    left.catch(() => undefined);
    const sync = child.stdio[3] as unknown as Readable;
    const start = child.stdio[4] as unknown as Writable;
    start.on('error', () => undefined);
    start.end('\0');
    const line = await withDeadline(readLine(sync, left), options, () => child.kill('SIGKILL'));
    // The process we started has forked the shim and ends; awaiting it leaves no zombie.
    await left;
    return await pidOf(line, options);
  } finally {
    await errors.close();
  }
}

function conmonArguments(options: ConmonOptions): string[] {
  const { id, bundle } = options;
  return [
    '--api-version',
    '1',
    '-c',
    id,
    '-u',
    id,
    '-n',
    options.name,
    '-r',
    options.runtime,
    '-b',
    bundle,
    '-p',
    join(bundle, 'pid'),
    '--conmon-pidfile',
    join(bundle, 'conmon.pid'),
    '--exit-dir',
    options.exitDirectory,
    '--persist-dir',
    options.persistDirectory,
    '--full-attach',
    ...(options.stdin === 'terminal' ? ['-t'] : []),
    ...(options.stdin === 'open' ? ['-i'] : []),
    '-l',
    `k8s-file:${options.logPath}`,
    '--log-size-max',
    String(options.logMaxBytes),
    '--log-level',
    'error',
    ...options.runtimeArguments.flatMap((argument) => ['--runtime-arg', argument]),
    '--runtime-arg',
    '--log-format=json',
    '--runtime-arg',
    '--log',
    '--runtime-arg',
    join(bundle, 'runtime.log'),
  ];
}

async function readLine(sync: Readable, left: Promise<number | null>): Promise<string> {
  let text = '';
  sync.setEncoding('utf8');
  // The pipe also ends when conmon could not even begin; `left` then rejects with the reason if it was not startable.
  left.catch((error: Error) => sync.destroy(error));
  for await (const chunk of sync) {
    text += chunk;
    if (text.includes('\n') || text.length > MAX_SYNC_BYTES) break;
  }
  return text;
}

async function withDeadline(
  line: Promise<string>,
  options: ConmonOptions,
  kill: () => void,
): Promise<string> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = options.clock.timer(CREATE_TIMEOUT_MS, () => {
    kill();
    reject(
      new ContainerError(
        'TIMEOUT',
        `cannot create container "${options.name}": the runtime did not answer within ${CREATE_TIMEOUT_MS} ms`,
        {
          retryable: true,
        },
      ),
    );
  });
  try {
    return await Promise.race([line, promise]);
  } finally {
    timer.cancel();
  }
}

async function pidOf(line: string, options: ConmonOptions): Promise<number> {
  let message: z.infer<typeof syncMessage> = {};
  if (line !== '') {
    const parsed = syncMessage.safeParse(JSON.parse(line));
    if (parsed.success) message = parsed.data;
  }
  const pid = message.data ?? message.pid ?? -1;
  if (pid > 0) return pid;
  const said =
    (await runtimeError(join(options.bundle, 'runtime.log'))) ??
    message.message?.trim() ??
    (await readTextIfAny(join(options.bundle, 'conmon.stderr')))?.trim();
  throw new ContainerError(
    'RUNTIME_FAILED',
    `cannot create container "${options.name}": ${said || 'the runtime gave no reason'}`,
    {
      ...hintFor(said ?? ''),
      details: { runtime: options.runtime },
    },
  );
}

function hintFor(said: string): { hint?: string } {
  if (/executable file not found|no such file or directory/.test(said) && /exec|stat/.test(said)) {
    return { hint: 'the command is not in the image; check "command" and "entrypoint"' };
  }
  if (/permission denied/.test(said)) return { hint: 'the user of the container may not run the command' };
  return {};
}

/** The last error in a runtime's JSON log. */
export async function runtimeError(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const errors = text.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      const parsed = runtimeLogLine.safeParse(JSON.parse(line));
      return parsed.success && parsed.data.level === 'error' ? [parsed.data.msg] : [];
    } catch {
      return [];
    }
  });
  return errors.at(-1);
}

/** Asks conmon to open its log file anew, after we renamed it. */
export async function reopenLog(bundle: string): Promise<void> {
  // Without a reader this fails at once instead of waiting for one: the shim is gone, and so is the need.
  const control = await open(join(bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    await control.write('2 0 0\n');
  } finally {
    await control.close();
  }
}
