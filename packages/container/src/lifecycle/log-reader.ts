// Reads a container's rotated log files in order, and goes on reading across rotations while it is followed.

import type { Clock, LogLine, LogOptions } from '@heptad/core';
import { CAUGHT_UP, logChunks } from './log-chunks.ts';
import { LineJoiner, parseLogRecord } from './log-format.ts';

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
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of logChunks(path, clock, hasEnded, options)) {
    if (chunk === CAUGHT_UP) {
      yield CAUGHT_UP;
      continue;
    }
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const record = parseLogRecord(part);
      const line = record === undefined ? undefined : joiner.add(record);
      if (line !== undefined) yield line;
    }
  }
  yield* joiner.rest();
}
