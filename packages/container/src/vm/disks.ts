// Snapshots and clones of a machine's disk: qcow2 operations, of a whole file system also while the machine runs.

import { constants, copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Instant } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { runOrThrow } from '../system/command.ts';
import type { AgentConnection } from './agent-connection.ts';
import { BASE_FILE, DISK_FILE } from './base-image.ts';
import { DISK_NODE } from './machine.ts';
import { withQmp } from './qmp.ts';

/** A disk as it was at one moment. */
export interface DiskSnapshot {
  readonly name: string;
  readonly at: Instant;
}

const SNAPSHOT_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
// qcow2 keeps a table for each; the format allows 65,536, a person looks through a few.
const MAX_SNAPSHOTS = 64;
const COPY_TIMEOUT_MS = 15 * 60_000;
const JOB_POLL_MS = 50;

const infoSchema = z.looseObject({
  snapshots: z
    .array(z.looseObject({ name: z.string(), 'date-sec': z.number(), 'date-nsec': z.number().optional() }))
    .optional(),
});
const jobsSchema = z.array(
  z.looseObject({ id: z.string(), status: z.string(), error: z.string().optional() }),
);

/** A running machine, whose disk QEMU holds. */
export interface RunningMachine {
  readonly directory: string;
  readonly agent: AgentConnection;
}

/** Snapshots of the disk, oldest first. */
export async function listSnapshots(directory: string): Promise<DiskSnapshot[]> {
  // A running QEMU holds the image's lock; reading its table of snapshots beside it is safe.
  const text = await runOrThrow('qemu-img', [
    'info',
    '--force-share',
    '--output=json',
    join(directory, DISK_FILE),
  ]);
  const { snapshots } = infoSchema.parse(JSON.parse(text));
  return (snapshots ?? [])
    .map((each) => ({
      name: each.name,
      at: each['date-sec'] * 1000 + Math.floor((each['date-nsec'] ?? 0) / 1e6),
    }))
    .sort((one, other) => one.at - other.at);
}

/** Keeps the disk as it is now. Throws `NAME_IN_USE`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`. */
export async function takeSnapshot(
  directory: string,
  name: string,
  clock: Clock,
  running: RunningMachine | undefined,
): Promise<void> {
  requireName(name);
  const existing = await listSnapshots(directory);
  if (existing.some((each) => each.name === name)) {
    throw new ContainerError('NAME_IN_USE', `cannot take snapshot "${name}": there is one of that name`, {
      hint: 'delete it first, or choose another name',
    });
  }
  if (existing.length >= MAX_SNAPSHOTS) {
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `cannot take snapshot "${name}": the disk has ${MAX_SNAPSHOTS} of them`,
      {
        hint: 'delete some that are not needed any more',
      },
    );
  }
  if (running === undefined) {
    await runOrThrow('qemu-img', ['snapshot', '-c', name, join(directory, DISK_FILE)]);
    return;
  }
  await frozen(running.agent, () =>
    withQmp(directory, clock, (qmp) =>
      qmp.call('blockdev-snapshot-internal-sync', { device: DISK_NODE, name }),
    ),
  );
}

/** Puts the disk of a machine that is not running back to a snapshot. Throws `PATH_NOT_FOUND` for one that is not there. */
export async function restoreSnapshot(directory: string, name: string): Promise<void> {
  await requireSnapshot(directory, name);
  await runOrThrow('qemu-img', ['snapshot', '-a', name, join(directory, DISK_FILE)]);
}

/** Forgets a snapshot. */
export async function deleteSnapshot(
  directory: string,
  name: string,
  clock: Clock,
  running: RunningMachine | undefined,
): Promise<void> {
  await requireSnapshot(directory, name);
  if (running === undefined) {
    await runOrThrow('qemu-img', ['snapshot', '-d', name, join(directory, DISK_FILE)]);
    return;
  }
  await withQmp(directory, clock, (qmp) =>
    qmp.call('blockdev-snapshot-delete-internal-sync', { device: DISK_NODE, name }),
  );
}

/** Copies the disk to `target`: what differs from the image only, of one moment. */
export async function copyDisk(
  directory: string,
  target: string,
  clock: Clock,
  running: RunningMachine | undefined,
): Promise<void> {
  try {
    if (running === undefined) {
      await copyFile(
        join(directory, DISK_FILE),
        target,
        constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE,
      );
    } else await backUp(directory, target, clock, running.agent);
  } catch (error) {
    await rm(target, { force: true });
    throw error;
  }
}

/** QEMU copies in the background what was there when it began; the guest is held still for that instant only. */
async function backUp(
  directory: string,
  target: string,
  clock: Clock,
  agent: AgentConnection,
): Promise<void> {
  const { size } = await stat(join(directory, BASE_FILE));
  // Its base will be beside it where it goes, and is neither there yet nor needed for the copy.
  await runOrThrow('qemu-img', [
    'create',
    '-q',
    '-u',
    '-f',
    'qcow2',
    '-b',
    BASE_FILE,
    '-F',
    'raw',
    target,
    String(size),
  ]);
  await withQmp(directory, clock, async (qmp) => {
    const node = {
      driver: 'qcow2',
      'node-name': 'copy',
      backing: null,
      file: { driver: 'file', filename: target },
    };
    await qmp.call('blockdev-add', node);
    try {
      await frozen(agent, () =>
        qmp.call('blockdev-backup', {
          'job-id': 'copy',
          device: DISK_NODE,
          target: 'copy',
          sync: 'top',
          'auto-dismiss': false,
        }),
      );
      const deadline = clock.monotonicMs() + COPY_TIMEOUT_MS;
      for (;;) {
        const jobs = jobsSchema.parse(await qmp.call('query-jobs'));
        const job = jobs.find(({ id }) => id === 'copy');
        if (job === undefined || job.status === 'concluded') {
          await qmp.call('job-dismiss', { id: 'copy' });
          if (job?.error !== undefined)
            throw new ContainerError('RUNTIME_FAILED', `cannot copy the disk: ${job.error}`);
          break;
        }
        if (clock.monotonicMs() > deadline) {
          throw new ContainerError('TIMEOUT', `the disk was not copied within ${COPY_TIMEOUT_MS} ms`);
        }
        await clock.sleep(JOB_POLL_MS);
      }
    } finally {
      await qmp.call('blockdev-del', { 'node-name': 'copy' }).catch(() => undefined);
    }
  });
}

/** Runs `work` while the guest's file system is whole on its disk and nothing is written. */
async function frozen<T>(agent: AgentConnection, work: () => Promise<T>): Promise<T> {
  await agent.request('freeze');
  try {
    return await work();
  } finally {
    await agent.request('thaw');
  }
}

function requireName(name: string): void {
  if (SNAPSHOT_NAME.test(name)) return;
  throw new ContainerError('INVALID_ARGUMENT', `"${name}" is not a name for a snapshot`, {
    hint: 'letters, digits, "_", "." and "-", at most 64, not starting with a sign',
  });
}

async function requireSnapshot(directory: string, name: string): Promise<void> {
  const all = await listSnapshots(directory).catch((error: unknown) => {
    throw new ContainerError(
      'STORE_CORRUPT',
      `cannot read the disk in ${directory}: ${errorMessage(error)}`,
      {
        cause: error,
      },
    );
  });
  if (all.some((each) => each.name === name)) return;
  throw new ContainerError('PATH_NOT_FOUND', `there is no snapshot "${name}"`, {
    hint: `snapshots are: ${all.map((each) => each.name).join(', ') || 'none'}`,
  });
}
