// Reads a container's rotated log files in order, and goes on reading across rotations while it is followed.

import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Clock, LogLine, LogOptions } from '@heptad/core';
import { errnoOf } from '../errors.ts';
import { LineJoiner, parseLogRecord } from './log-format.ts';

const CHUNK_BYTES = 64 * 1024;
// A follower looks for new lines this often: below what a person notices, and a few microseconds of work.
const FOLLOW_POLL_MS = 100;
/** More rotated files than the highest `logs.maxFiles` a spec may ask for. */
const MAX_ROTATED_FILES = 100;

/** The path of the n-th rotated log: 0 is the one being written. */
export function rotatedLog(path: string, index: number): string {
  return index === 0 ? path : `${path}.${index}`;
}

interface OpenLog {
  readonly file: FileHandle;
  readonly inode: number;
}

/** The lines of a log. `hasEnded` says whether its writer is gone; a follower then drains the rest and ends. */
export async function* readLog(
  path: string,
  clock: Clock,
  hasEnded: () => boolean,
  options: LogOptions = {},
): AsyncGenerator<LogLine> {
  const items = filterLines(rawLines(path, clock, hasEnded, options), options);
  if (options.tail !== undefined) {
    yield* tailLines(items, options.tail);
    return;
  }
  for await (const item of items) {
    if (item !== CAUGHT_UP) yield item;
  }
}

// A follower with a tail first gets the last lines of what is there, then everything new; the marker divides the two.
const CAUGHT_UP = Symbol('caught up');
type Item = LogLine | typeof CAUGHT_UP;

async function* tailLines(items: AsyncIterable<Item>, count: number): AsyncGenerator<LogLine> {
  let ring: LogLine[] | undefined = [];
  for await (const item of items) {
    if (item === CAUGHT_UP) {
      if (ring !== undefined) yield* ring;
      ring = undefined;
    } else if (ring === undefined) {
      yield item;
    } else {
      ring.push(item);
      if (ring.length > count) ring.shift();
    }
  }
  if (ring !== undefined) yield* ring;
}

async function* filterLines(items: AsyncIterable<Item>, options: LogOptions): AsyncGenerator<Item> {
  for await (const item of items) {
    if (item === CAUGHT_UP) {
      yield item;
      continue;
    }
    if (options.until !== undefined && item.at > options.until) {
      if (options.follow === true) return;
      continue;
    }
    if (options.since !== undefined && item.at < options.since) continue;
    if (options.stream !== undefined && item.stream !== options.stream) continue;
    yield item;
  }
}

async function* rawLines(
  path: string,
  clock: Clock,
  hasEnded: () => boolean,
  options: LogOptions,
): AsyncGenerator<Item> {
  const joiner = new LineJoiner();
  let rest = '';
  for await (const chunk of rawChunks(path, clock, hasEnded, options)) {
    if (chunk === CAUGHT_UP) {
      yield CAUGHT_UP;
      continue;
    }
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const record = parseLogRecord(part);
      const line = record === undefined ? undefined : joiner.add(record);
      if (line !== undefined) yield line;
    }
  }
  yield* joiner.rest();
}

async function* rawChunks(
  path: string,
  clock: Clock,
  hasEnded: () => boolean,
  options: LogOptions,
): AsyncGenerator<string | typeof CAUGHT_UP> {
  let current = await openOldest(path);
  let caughtUp = false;
  const decoder = new TextDecoder();
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    while (options.signal?.aborted !== true) {
      // Asked before reading: what the writer wrote before it ended is then certainly read before we stop.
      const ended = hasEnded();
      const { bytesRead } =
        current === undefined ? { bytesRead: 0 } : await current.file.read(buffer, 0, CHUNK_BYTES, null);
      if (bytesRead > 0) {
        yield decoder.decode(buffer.subarray(0, bytesRead), { stream: true });
        continue;
      }
      const next: OpenLog | undefined = await openNext(path, current);
      if (next !== undefined) {
        // The writer may have added to the old file until it noticed the rotation: read it to its end first.
        const more =
          current === undefined ? 0 : (await current.file.read(buffer, 0, CHUNK_BYTES, null)).bytesRead;
        if (more > 0) {
          await next.file.close();
          yield decoder.decode(buffer.subarray(0, more), { stream: true });
          continue;
        }
        await current?.file.close();
        current = next;
        continue;
      }
      if (!caughtUp) yield CAUGHT_UP;
      caughtUp = true;
      if (ended || options.follow !== true) return;
      await clock.sleep(FOLLOW_POLL_MS, options.signal).catch(() => undefined);
    }
  } finally {
    await current?.file.close();
  }
}

async function openLog(path: string): Promise<OpenLog | undefined> {
  try {
    const file = await open(path, 'r');
    return { file, inode: (await file.stat()).ino };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
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
