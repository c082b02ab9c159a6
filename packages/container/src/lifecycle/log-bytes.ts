// The exact bytes a container wrote, out of its log: records whose text need not be text.

import type { Clock } from '@heptad/core';
import { CAUGHT_UP, type ChunkOptions, chunksBefore, type LogPosition, logChunks } from './log-chunks.ts';

const NEWLINE = 0x0a;
const SPACE = 0x20;
const PARTIAL = 0x50;

/** Some bytes of one stream. */
export interface Output {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Uint8Array;
}

/** The last lines before a point. */
export interface LinesBefore {
  readonly lines: number;
  readonly before: LogPosition;
}

/** {@link ChunkOptions}, and how much of what is there comes first. */
export interface OutputOptions extends Omit<ChunkOptions, 'from' | 'follow'> {
  /** From the beginning, from a point, or from some lines before it. */
  readonly start: 'beginning' | LogPosition | LinesBefore;
}

/** What a container wrote and writes, until it ends. */
export async function* followOutput(
  path: string,
  clock: Clock,
  hasEnded: () => boolean,
  options: OutputOptions,
): AsyncGenerator<Output> {
  const { start, ...rest } = options;
  let from: LogPosition | undefined;
  if (start !== 'beginning') from = 'before' in start ? start.before : start;
  if (start !== 'beginning' && 'before' in start) {
    let kept: Output[] = [];
    for await (const record of recordsOf(chunksBefore(path, start.before)))
      kept = lastLines([...kept, record], start.lines);
    yield* kept;
  }
  yield* recordsOf(withoutMark(logChunks(path, clock, hasEnded, { ...rest, follow: true, from })));
}

async function* withoutMark(chunks: AsyncIterable<Buffer | typeof CAUGHT_UP>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) if (chunk !== CAUGHT_UP) yield chunk;
}

/** The records of the last `count` lines; one that is not finished counts. */
function lastLines(records: Output[], count: number): Output[] {
  let lines = 0;
  for (let index = records.length - 1; index >= 0; index -= 1) {
    const endsLine = records[index]?.bytes.at(-1) === NEWLINE;
    if (endsLine || index === records.length - 1) lines += 1;
    if (lines > count) return records.slice(index + 1);
  }
  return records;
}

async function* recordsOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Output> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let end = all.indexOf(NEWLINE); end >= 0; end = all.indexOf(NEWLINE, from)) {
      const record = parseOutput(all.subarray(from, end));
      if (record !== undefined) yield record;
      from = end + 1;
    }
    rest = all.subarray(from);
  }
}

/** A record from its line in the log, see `log-format.ts`; undefined for a line cut short by a crash. */
export function parseOutput(line: Buffer): Output | undefined {
  const stream = line.indexOf(SPACE) + 1;
  const tag = line.indexOf(SPACE, stream) + 1;
  if (stream === 0 || tag === 0 || line[tag + 1] !== SPACE) return undefined;
  const name = line.toString('latin1', stream, tag - 1);
  if (name !== 'stdout' && name !== 'stderr') return undefined;
  const text = line.subarray(tag + 2);
  const partial = line[tag] === PARTIAL;
  return { stream: name, bytes: partial ? text : Buffer.concat([text, Buffer.of(NEWLINE)]) };
}
