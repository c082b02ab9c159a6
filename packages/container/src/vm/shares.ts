// Directories of the host for a machine: one virtiofsd each, locked into its directory.

import { spawn } from 'node:child_process';
import { access, constants, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { TOOL_PATH } from '../system/command.ts';
import { readJson, readTextIfAny, writeJsonAtomic } from '../system/files.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import type { LaunchShare } from './launch.ts';
import type { MachineShare } from './machine.ts';

/** QEMU's own of Debian 12, and the later one in Rust, which has other options. */
const PROGRAMS: readonly {
  readonly path: string;
  readonly args: (socket: string, source: string) => string[];
}[] = [
  {
    path: '/usr/libexec/virtiofsd',
    args: (socket, source) => [
      '--socket-path',
      socket,
      '--shared-dir',
      source,
      '--cache',
      'auto',
      '--rlimit-nofile',
      '0',
    ],
  },
  {
    path: '/usr/lib/qemu/virtiofsd',
    args: (socket, source) => [
      ...[`--socket-path=${socket}`, '-o', `source=${source.replaceAll(',', '\\,')}`],
      ...['-o', 'cache=auto', '-o', 'xattr', '--rlimit-nofile=0', '-f'],
    ],
  },
];

const PIDS_FILE = 'virtiofsd.json';
const SOCKET_MS = 5_000;
const END_MS = 2_000;
// In a mount namespace of its own the directory is made read-only before the server sees it: a guest that breaks its
// own kernel still cannot write.
const READ_ONLY_SCRIPT =
  'mount --bind -- "$1" "$1" && mount -o remount,bind,ro -- "$1" && shift && exec "$@"';

const identitiesSchema = z.array(z.object({ pid: z.number(), startTime: z.string() }));

/** The program, or undefined when directories cannot be shared here. */
export async function findVirtiofsd(): Promise<string | undefined> {
  for (const { path } of PROGRAMS) {
    const usable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return path;
  }
  return undefined;
}

/** Throws `NOT_SUPPORTED` for what cannot be shared: single files, and everything without virtiofsd. */
export async function requireShareable(name: string, source: string): Promise<void> {
  if ((await findVirtiofsd()) === undefined) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create container "${name}": volumes and binds of virtual machines need virtiofsd, which is not installed`,
      { hint: 'apt-get install qemu-system-common (Debian 12) or virtiofsd', details: { driver: 'oci' } },
    );
  }
  if ((await stat(source)).isDirectory()) return;
  throw new ContainerError(
    'NOT_SUPPORTED',
    `cannot create container "${name}": ${source} is a file, and a virtual machine can only be given directories`,
    {
      hint: 'bind its directory, or pass it as a secret file; the oci runtime can bind files',
      details: { driver: 'oci' },
    },
  );
}

/** Starts the servers of a machine; they end with it, because their only client does. */
export async function startShares(
  directory: string,
  shares: readonly LaunchShare[],
  clock: Clock,
): Promise<MachineShare[]> {
  const started: ProcessIdentity[] = [];
  const machines: MachineShare[] = [];
  for (const share of shares) {
    const socket = `${share.tag}.sock`;
    const identity = await startShare(directory, share, socket);
    started.push(identity);
    // Written before the next one starts, so that none is ever unknown.
    await writeJsonAtomic(join(directory, PIDS_FILE), started, { durable: false });
    await socketAppears(join(directory, socket), identity, share, clock);
    machines.push({ tag: share.tag, socket });
  }
  return machines;
}

async function startShare(directory: string, share: LaunchShare, socket: string): Promise<ProcessIdentity> {
  const program = await findVirtiofsd();
  const known = PROGRAMS.find(({ path }) => path === program);
  if (known === undefined) throw notStarted(share, 'virtiofsd is not installed');
  const command = [known.path, ...known.args(socket, share.source)];
  const log = await open(join(directory, 'virtiofsd.log'), 'a', 0o600);
  try {
    const [file = '', ...args] = share.readOnly
      ? [
          'unshare',
          '--mount',
          '--propagation',
          'private',
          'sh',
          '-c',
          READ_ONLY_SCRIPT,
          'sh',
          share.source,
          ...command,
        ]
      : command;
    const child = spawn(file, args, {
      cwd: directory,
      env: { PATH: TOOL_PATH },
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    child.once('error', () => undefined);
    child.unref();
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    if (identity === undefined) throw notStarted(share, 'it ended at once');
    return identity;
  } finally {
    await log.close();
  }
}

async function socketAppears(
  path: string,
  server: ProcessIdentity,
  share: LaunchShare,
  clock: Clock,
): Promise<void> {
  const deadline = clock.monotonicMs() + SOCKET_MS;
  for (;;) {
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      return;
    if (identify(server.pid)?.startTime !== server.startTime || clock.monotonicMs() > deadline) {
      const log = await readTextIfAny(join(path, '..', 'virtiofsd.log'));
      throw notStarted(share, log?.trim().split('\n').at(-1) ?? 'it gave no reason');
    }
    await clock.sleep(5);
  }
}

function notStarted(share: LaunchShare, why: string): ContainerError {
  return new ContainerError('RUNTIME_FAILED', `cannot share ${share.source} with a virtual machine: ${why}`);
}

/** Ends the servers of a machine that is gone. Idempotent. */
export async function stopShares(directory: string, clock: Clock): Promise<void> {
  const parsed = identitiesSchema.safeParse(
    await readJson(join(directory, PIDS_FILE)).catch(() => undefined),
  );
  for (const server of parsed.success ? parsed.data : []) {
    const deadline = clock.monotonicMs() + END_MS;
    // It forks a child that serves from within; the parent's end ends both.
    while (identify(server.pid)?.startTime === server.startTime) {
      if (clock.monotonicMs() > deadline) signalProcess(server, 9);
      await clock.sleep(10);
    }
  }
}
