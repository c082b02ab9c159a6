// The bytes of a container's rotated log files in order, going on across rotations while they are followed.

import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Clock } from '@heptad/core';
import { errnoOf } from '../errors.ts';

const CHUNK_BYTES = 64 * 1024;
// A follower looks for new lines this often: below what a person notices, and a few microseconds of work.
const FOLLOW_POLL_MS = 100;
/** More rotated files than the highest `logs.maxFiles` a spec may ask for. */
const MAX_ROTATED_FILES = 100;

/** Divides what was there from what is new. */
export const CAUGHT_UP: unique symbol = Symbol('caught up');

/** The path of the n-th rotated log: 0 is the one being written. */
export function rotatedLog(path: string, index: number): string {
  return index === 0 ? path : `${path}.${index}`;
}

interface OpenLog {
  readonly file: FileHandle;
  readonly inode: number;
  /** Where the next read begins. */
  position: number;
}

/** Which part of a log, and how eagerly. */
export interface ChunkOptions {
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where to begin: what {@link logNow} answered. Default the oldest that is kept. */
  readonly from?: LogPosition | undefined;
  /** Resolves when there may be something new; default: after a while. */
  readonly wake?: (() => Promise<void>) | undefined;
}

/**
 * The bytes of a log, oldest first, with {@link CAUGHT_UP} once between what was there and what is new. `hasEnded` says
 * whether its writer is gone; a follower then drains the rest and ends.
 */
export async function* logChunks(
  path: string,
  clock: Clock,
  hasEnded: () => boolean,
  options: ChunkOptions,
): AsyncGenerator<Buffer | typeof CAUGHT_UP> {
  let current = options.from === undefined ? await openOldest(path) : await openAt(path, options.from);
  let caughtUp = false;
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    while (options.signal?.aborted !== true) {
      // Asked before reading: what the writer wrote before it ended is then certainly read before we stop.
      const ended = hasEnded();
      const size = await readOn(current, buffer);
      if (size > 0) {
        yield Buffer.from(buffer.subarray(0, size));
        continue;
      }
      const next: OpenLog | undefined = await openNext(path, current);
      if (next !== undefined) {
        // The writer may have added to the old file until it noticed the rotation: read it to its end first.
        const more = await readOn(current, buffer);
        if (more > 0) {
          await next.file.close();
          yield Buffer.from(buffer.subarray(0, more));
          continue;
        }
        await current?.file.close();
        current = next;
        continue;
      }
      if (!caughtUp) yield CAUGHT_UP;
      caughtUp = true;
      if (ended || options.follow !== true) return;
      const wake = options.wake?.() ?? clock.sleep(FOLLOW_POLL_MS, options.signal);
      await wake.catch(() => undefined);
    }
  } finally {
    await current?.file.close();
  }
}

async function openLog(path: string): Promise<OpenLog | undefined> {
  try {
    const file = await open(path, 'r');
    return { file, inode: (await file.stat()).ino, position: 0 };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function readOn(log: OpenLog | undefined, buffer: Buffer): Promise<number> {
  if (log === undefined) return 0;
  const { bytesRead } = await log.file.read(buffer, 0, CHUNK_BYTES, log.position);
  log.position += bytesRead;
  return bytesRead;
}

/** A point in a log. */
export interface LogPosition {
  /** Of the file; absent: nothing has been written yet. */
  readonly inode: number | undefined;
  readonly position: number;
}

/** The end of a log as it is now, up to the last line that is whole. */
export async function logNow(path: string): Promise<LogPosition> {
  const log = await openLog(path);
  if (log === undefined) return { inode: undefined, position: 0 };
  try {
    const { size } = await log.file.stat();
    const from = Math.max(0, size - CHUNK_BYTES);
    const buffer = Buffer.alloc(size - from);
    await log.file.read(buffer, 0, buffer.length, from);
    // A line that is being written just now is read from its beginning.
    return { inode: log.inode, position: from + buffer.lastIndexOf(0x0a) + 1 };
  } finally {
    await log.file.close();
  }
}

/** The bytes of a log before a point, oldest first. */
export async function* chunksBefore(path: string, { inode, position }: LogPosition): AsyncGenerator<Buffer> {
  if (inode === undefined) return;
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let log = await openOldest(path); log !== undefined; ) {
    try {
      const isLast = log.inode === inode;
      for (let size = await readOn(log, buffer); size > 0; size = await readOn(log, buffer)) {
        const beyond = isLast ? Math.max(0, log.position - position) : 0;
        if (size > beyond) yield Buffer.from(buffer.subarray(0, size - beyond));
        if (beyond > 0) return;
      }
      if (isLast) return;
    } finally {
      await log.file.close();
    }
    log = await openNext(path, log);
  }
}

/** The log at a point, which a rotation may have moved; the oldest when it is there no more. */
async function openAt(path: string, { inode, position }: LogPosition): Promise<OpenLog | undefined> {
  if (inode === undefined) return undefined;
  for (let index = 0; index <= MAX_ROTATED_FILES; index += 1) {
    const log = await openLog(rotatedLog(path, index));
    if (log?.inode === inode) return { ...log, position };
    await log?.file.close();
    if (log === undefined && index > 0) break;
  }
  return await openOldest(path);
}

async function openOldest(path: string): Promise<OpenLog | undefined> {
  let index = 0;
  while (index < MAX_ROTATED_FILES && (await inodeOf(rotatedLog(path, index + 1))) !== undefined) index += 1;
  // A rotation between the look and the open only shifts names; the file opened is then one newer at worst re-found.
  return await openLog(rotatedLog(path, index));
}

/** The file after `current` in time, if there is one. */
async function openNext(path: string, current: OpenLog | undefined): Promise<OpenLog | undefined> {
  if (current === undefined) return await openOldest(path);
  for (let index = 0; index <= MAX_ROTATED_FILES; index += 1) {
    const inode = await inodeOf(rotatedLog(path, index));
    if (inode === undefined && index > 0) break;
    if (inode === current.inode) return index === 0 ? undefined : await openLog(rotatedLog(path, index - 1));
  }
  // Ours was rotated away altogether: go on with the oldest that is left.
  const oldest = await openOldest(path);
  if (oldest?.inode !== current.inode) return oldest;
  await oldest.file.close();
  return undefined;
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
