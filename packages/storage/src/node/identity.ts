// Whose directory it is: it belongs to one node id for good, and to one living process at a time.

import { type Disk, errorMessage, type Random } from '@heptad/core';
import { z } from 'zod';
import { StorageError } from '../errors.ts';
import { readText, writeDurably } from './layout-keeper.ts';

const identitySchema = z.strictObject({ format: z.literal('heptad-storage-1'), id: z.string() });

const lockSchema = z.strictObject({ pid: z.number().int().positive(), mark: z.string() });

/** What {@link claimDirectory} works on. */
export interface ClaimOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly id: string;
  readonly random: Random;
}

// Two nodes of one process share no file handle, so a set here is what keeps them apart; other processes are kept
// away by the lock file.
const claimed = new Set<string>();

/** Claims a directory; the answer gives it back. */
export async function claimDirectory(options: ClaimOptions): Promise<() => Promise<void>> {
  const { disk, directory } = options;
  const lock = `${directory}/node.lock`;
  await disk.makeDirectory(directory);
  await disk.makeDirectory(`${directory}/tmp`);
  await refuseIfInUse(options, lock);
  claimed.add(directory);
  try {
    await checkIdentity(options);
    const mark = (await processMark(disk, process.pid)) ?? '';
    const owner = JSON.stringify({ pid: process.pid, mark });
    await writeDurably(disk, directory, 'node.lock', owner, options.random);
  } catch (error) {
    claimed.delete(directory);
    throw error;
  }
  return async () => {
    claimed.delete(directory);
    if (await disk.exists(lock)) await disk.remove(lock);
  };
}

async function refuseIfInUse({ disk, directory, id }: ClaimOptions, lock: string): Promise<void> {
  const holder = claimed.has(directory) ? process.pid : await livingHolder(disk, lock);
  if (holder === undefined) return;
  throw new StorageError(
    'DIRECTORY_IN_USE',
    `cannot start storage node "${id}": process ${holder} uses ${directory}`,
    { hint: 'stop that process, or give this node its own directory', details: { pid: holder, directory } },
  );
}

async function livingHolder(disk: Disk, lock: string): Promise<number | undefined> {
  if (!(await disk.exists(lock))) return undefined;
  let holder: { pid: number; mark: string };
  try {
    holder = lockSchema.parse(JSON.parse(await readText(disk, lock)));
  } catch {
    // A lock that cannot be read was damaged by a crash: its writer is gone.
    return undefined;
  }
  if (holder.pid === process.pid) return undefined;
  return (await processMark(disk, holder.pid)) === holder.mark ? holder.pid : undefined;
}

// Process ids come round again, boots repeat start times: all three together name one process for good.
async function processMark(disk: Disk, pid: number): Promise<string | undefined> {
  try {
    const stat = await readProc(disk, `/proc/${pid}/stat`);
    const boot = await readProc(disk, '/proc/sys/kernel/random/boot_id');
    // The command, field 2, may contain anything up to the last parenthesis; the start time is field 22.
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${boot.trim()} ${startTime}`;
  } catch {
    return undefined;
  }
}

async function readProc(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path, 'read');
  try {
    return Buffer.from(await file.read(0, 4096)).toString('utf8');
  } finally {
    await file.close();
  }
}

async function checkIdentity({ disk, directory, id, random }: ClaimOptions): Promise<void> {
  const path = `${directory}/node.json`;
  if (!(await disk.exists(path))) {
    await writeDurably(
      disk,
      directory,
      'node.json',
      JSON.stringify({ format: 'heptad-storage-1', id }),
      random,
    );
    return;
  }
  let owner: string;
  try {
    owner = identitySchema.parse(JSON.parse(await readText(disk, path))).id;
  } catch (cause) {
    throw new StorageError('STORE_CORRUPT', `cannot read ${path}: ${errorMessage(cause)}`, {
      cause,
      hint: `the objects are untouched; if this is the directory of node "${id}", write {"format":"heptad-storage-1","id":"${id}"} to that file`,
      details: { path },
    });
  }
  if (owner === id) return;
  throw new StorageError(
    'DIRECTORY_IN_USE',
    `cannot start storage node "${id}": ${directory} holds the data of node "${owner}"`,
    { hint: `start it as "${owner}", or give "${id}" its own directory` },
  );
}
