// Runs a program in a running container: the runtime's own exec with pipes, in a cgroup of its own so that all of it can be killed.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Clock, ExecOptions, ExecSession, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { execSession } from '../lifecycle/exec-session.ts';
import { requireWorkingDirectory } from '../lifecycle/kernel-paths.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { TOOL_PATH } from '../system/command.ts';
import { descendants, identify, signalProcess } from '../system/processes.ts';
import { type CgroupLayout, cgroupDirectory, cgroupPids, removeCgroup } from './cgroup.ts';
import { runtimeError } from './conmon.ts';
import { PERL, TERMINAL_RELAY } from './relays.ts';
import type { RuntimeCommand } from './runtime-command.ts';
import type { OciSpec } from './spec.ts';
import { resolveUser } from './user.ts';

/** Where the container is. */
export interface ExecContext {
  readonly runtime: RuntimeCommand;
  readonly layout: CgroupLayout;
  readonly cgroupsPath: string;
  readonly rootfs: string;
  readonly bundle: string;
  readonly clock: Clock;
}

// A fork bomb makes new processes while we kill: each round kills all there are, and the pids limit bounds the rounds.
const MAX_KILL_ROUNDS = 1_000;
// The controller whose sub-cgroup marks the processes of an exec on cgroup v1; every v1 machine has it.
const MARK_CONTROLLER = 'pids';
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** Starts the command. Throws `EXEC_FAILED` when the runtime cannot. */
export async function ociExec(
  context: ExecContext,
  record: ContainerRecord,
  options: ExecOptions,
  id: string,
): Promise<ExecSession> {
  const name = `exec-${id}`;
  const directory = join(context.bundle, name);
  const cgroup = cgroupDirectory(context.layout, MARK_CONTROLLER, join(context.cgroupsPath, name));
  await mkdir(directory, { mode: 0o700 });
  const cleanUp = async (): Promise<void> => {
    await rm(directory, { recursive: true, force: true });
    // Fails while a background process that the command left is in it; it then goes with the container.
    await removeCgroup(cgroup).catch(() => undefined);
  };
  try {
    if (context.layout.denied !== true) await mkdir(cgroup);
    await writeFile(join(directory, 'process.json'), JSON.stringify(await processOf(context, options)), {
      mode: 0o600,
    });
    const child = spawnExec(context, options, execArguments(context, record, name, directory));
    const log = join(directory, 'runtime.log');
    let failure: string | undefined;
    return execSession(
      {
        id,
        child,
        pid: () => pidIn(join(directory, 'pid')),
        clock: context.clock,
        killTree: () =>
          context.layout.denied === true
            ? killDescendants(pidIn(join(directory, 'pid')), child, context.clock)
            : killAll(cgroup, context.clock),
        cleanUp: async () => {
          failure = await runtimeError(log);
          await cleanUp();
        },
        exitCode: (code, signal) => exitCodeOf(record, options, failure, code, signal),
        ...(terminalSize(options) === undefined ? {} : { resize: (size) => resize(child, size) }),
      },
      options,
    );
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** What the runtime wrote about who the command is; nothing before and after its life. */
function pidIn(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** The size of the terminal it gets; undefined: none. */
function terminalSize({ tty }: ExecOptions): TerminalSize | undefined {
  if (tty === undefined || tty === false) return undefined;
  return tty === true ? DEFAULT_SIZE : tty;
}

function spawnExec(context: ExecContext, options: ExecOptions, args: readonly string[]): ChildProcess {
  const size = terminalSize(options);
  const command = [context.runtime.program, ...args];
  const relay =
    size === undefined ? [] : [PERL, '-e', TERMINAL_RELAY, String(size.rows), String(size.columns)];
  const [program = '', ...rest] = [...relay, ...command];
  const detached = options.detach === true;
  const child = spawn(program, rest, {
    cwd: context.bundle,
    env: { PATH: TOOL_PATH },
    // One that is detached must not end with our terminal or our process group.
    detached,
    stdio: detached
      ? ['ignore', 'ignore', 'ignore']
      : ['pipe', 'pipe', 'pipe', ...(size ? (['pipe'] as const) : [])],
  });
  if (detached) child.unref();
  return child;
}

function resize(child: ChildProcess, size: TerminalSize): Promise<void> {
  const control = child.stdio[3];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (!(control instanceof Writable) || control.destroyed) {
    reject(new ContainerError('INVALID_ARGUMENT', 'cannot resize the terminal: the command has ended'));
  } else control.write(`${size.rows} ${size.columns}\n`, (error) => (error ? reject(error) : resolve()));
  return promise;
}

function execArguments(
  context: ExecContext,
  record: ContainerRecord,
  name: string,
  directory: string,
): string[] {
  const mark = context.layout.version === 2 ? name : `${MARK_CONTROLLER}:${name}`;
  return [
    ...context.runtime.globalArguments,
    '--log',
    join(directory, 'runtime.log'),
    '--log-format',
    'json',
    'exec',
    ...(context.layout.denied === true ? [] : ['--cgroup', mark]),
    '--process',
    join(directory, 'process.json'),
    '--pid-file',
    join(directory, 'pid'),
    record.id,
  ];
}

async function processOf(context: ExecContext, options: ExecOptions): Promise<OciSpec['process']> {
  // The container's own process is the model: same capabilities, limits and environment. We wrote this file ourselves.
  const config = JSON.parse(await readFile(join(context.bundle, 'config.json'), 'utf8')) as OciSpec;
  if (options.workingDirectory !== undefined) requireWorkingDirectory(options.workingDirectory, 'exec');
  const hasTerminal = terminalSize(options) !== undefined;
  const added = Object.entries(options.environment ?? {}).map(([key, value]) => `${key}=${value}`);
  const overridden = new Set(Object.keys(options.environment ?? {}));
  const knowsTerminal = overridden.has('TERM') || config.process.env.some((line) => line.startsWith('TERM='));
  const base = {
    ...config.process,
    args: options.command,
    env: [
      ...config.process.env.filter((line) => !overridden.has(line.slice(0, line.indexOf('=')))),
      ...(hasTerminal && !knowsTerminal ? ['TERM=xterm'] : []),
      ...added,
    ],
    cwd: options.workingDirectory ?? config.process.cwd,
    terminal: hasTerminal,
  };
  if (options.user === undefined) return base;
  const { uid, gid, additionalGids } = await resolveUser(context.rootfs, options.user);
  const allowed = uid === 0 ? base.capabilities.bounding : [];
  return {
    ...base,
    user: { uid, gid, additionalGids },
    capabilities: { ...base.capabilities, effective: allowed, permitted: allowed },
  };
}

async function killAll(cgroup: string, clock: Clock): Promise<void> {
  for (let round = 0; round < MAX_KILL_ROUNDS; round += 1) {
    const pids = await cgroupPids(cgroup);
    // An empty cgroup in the first rounds may mean that the runtime has not joined it yet.
    if (pids.length === 0 && round > 50) return;
    for (const pid of pids) {
      const target = identify(pid);
      if (target !== undefined) signalProcess(target, 9);
    }
    await clock.sleep(pids.length === 0 ? 10 : 2);
  }
}

/**
 * Without a cgroup: the command, and all whose parents lead to it. What made itself a daemon has another parent, and
 * ends with the container only.
 */
async function killDescendants(pid: number | undefined, child: ChildProcess, clock: Clock): Promise<void> {
  for (let round = 0; round < MAX_KILL_ROUNDS; round += 1) {
    const found = pid === undefined ? [] : await descendants(pid);
    for (const each of found) signalProcess(each, 9);
    if (found.length === 0) break;
    await clock.sleep(2);
  }
  child.kill('SIGKILL');
}

function exitCodeOf(
  record: ContainerRecord,
  options: ExecOptions,
  failure: string | undefined,
  code: number | null,
  signal: NodeJS.Signals | null,
): number | Error {
  // The runtime exits with the command's own code; only an error in its log tells that the command never ran.
  if (failure !== undefined) {
    const notFound = /executable file not found|no such file/.test(failure);
    return new ContainerError(
      'EXEC_FAILED',
      `cannot exec ${options.command[0]} in container "${record.name}": ${failure}`,
      {
        ...(notFound ? { hint: 'the command is not in the image' } : {}),
        details: { exitCode: notFound ? 127 : 126 },
      },
    );
  }
  return code ?? (signal === null ? 255 : 128 + 9);
}
