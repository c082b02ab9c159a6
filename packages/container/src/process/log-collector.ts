// Turns the raw output files of a plain process into the common log: each byte exactly once, also across our own death.

import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import { errnoOf } from '../errors.ts';
import { rotatedLog } from '../lifecycle/log-chunks.ts';
import { formatLogRecord, type LogRecord } from '../lifecycle/log-format.ts';
import { type LogBounds, rotateLog } from '../lifecycle/rotate-log.ts';
import { run } from '../system/command.ts';
import { Mutex } from '../system/mutex.ts';

const STREAMS = ['stdout', 'stderr'] as const;
type Stream = (typeof STREAMS)[number];
type Offsets = Record<Stream, number>;

/** A record whose text is kept as the bytes it was written in. */
interface RawRecord extends LogRecord {
  readonly bytes: Buffer;
}

const NEWLINE = Buffer.of(0x0a);
const CHUNK_BYTES = 256 * 1024;
// A line longer than this is stored in parts, as other runtimes do, so that a stream without newlines moves on.
const MAX_RECORD_BYTES = 16 * 1024;
// Collected output is given back to the disk in steps of this size.
const PUNCH_STEP_BYTES = 4 * 1024 * 1024;
const MARKER_TAIL_BYTES = 512 * 1024;

/**
 * Collects one container's output.
 *
 * The process writes to `stdout.raw` and `stderr.raw`, which need no reader and so outlive us. Each batch of records
 * is appended to `log` in one write together with a marker line `# <stdout offset> <stderr offset>`: whoever goes on
 * after a crash reads the last marker, so nothing is lost and nothing told twice. Collected bytes are freed by punching
 * a hole, never by truncation, which could lose what is written at that moment.
 */
export class LogCollector {
  private readonly directory: string;
  private readonly clock: Clock;
  private readonly bounds: LogBounds;
  private readonly mutex = new Mutex();
  private offsets: Offsets | undefined;
  private punched: Offsets = { stdout: 0, stderr: 0 };

  constructor(directory: string, clock: Clock, bounds: LogBounds) {
    this.directory = directory;
    this.clock = clock;
    this.bounds = bounds;
  }

  /** Collects what is new. `final` also takes a last line without its newline, which only a dead writer leaves. */
  collect(final = false): Promise<void> {
    return this.mutex.run(async () => {
      this.offsets ??= await this.lastOffsets();
      for (const stream of STREAMS) await this.collectStream(stream, this.offsets, final);
    });
  }

  private get log(): string {
    return join(this.directory, 'log');
  }

  private async collectStream(stream: Stream, offsets: Offsets, final: boolean): Promise<void> {
    const file = await openIfAny(join(this.directory, `${stream}.raw`));
    if (file === undefined) return;
    try {
      for (;;) {
        const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
        const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, offsets[stream]);
        const { records, consumed } = splitRecords(
          buffer.subarray(0, bytesRead),
          stream,
          this.clock.now(),
          final,
        );
        if (consumed === 0) return;
        await this.append(records, { ...offsets, [stream]: offsets[stream] + consumed });
        offsets[stream] += consumed;
        await this.punch(stream, offsets[stream]);
      }
    } finally {
      await file.close();
    }
  }

  private async append(records: readonly RawRecord[], offsets: Offsets): Promise<void> {
    const lines = records.flatMap((record) => [Buffer.from(formatLogRecord(record)), record.bytes, NEWLINE]);
    const rotated = await rotateLog(this.log, this.bounds);
    // A fresh file starts with a marker too, so that its predecessors may go.
    const head = rotated ? `# ${(this.offsets ?? offsets).stdout} ${(this.offsets ?? offsets).stderr}\n` : '';
    const file = await open(this.log, 'a', 0o600);
    try {
      const marker = Buffer.from(`# ${offsets.stdout} ${offsets.stderr}\n`);
      await file.appendFile(Buffer.concat([Buffer.from(head), ...lines, marker]));
    } finally {
      await file.close();
    }
  }

  private async punch(stream: Stream, offset: number): Promise<void> {
    if (offset - this.punched[stream] < PUNCH_STEP_BYTES) return;
    const length = offset - (offset % 4096);
    this.punched[stream] = length;
    // Without fallocate, or on a file system that cannot, the raw file stays large; nothing else depends on it.
    await run('fallocate', [
      '--punch-hole',
      '--offset',
      '0',
      '--length',
      String(length),
      join(this.directory, `${stream}.raw`),
    ]).catch(() => undefined);
  }

  private async lastOffsets(): Promise<Offsets> {
    for (const index of [0, 1]) {
      const text = await readTail(rotatedLog(this.log, index));
      const marker = [...text.matchAll(/^# (\d+) (\d+)$/gm)].at(-1);
      if (marker !== undefined) return { stdout: Number(marker[1]), stderr: Number(marker[2]) };
    }
    return { stdout: 0, stderr: 0 };
  }
}

/** Cuts bytes into records; what is not yet a whole line stays for the next time. */
export function splitRecords(
  bytes: Buffer,
  stream: Stream,
  at: number,
  final: boolean,
): { records: RawRecord[]; consumed: number } {
  const records: RawRecord[] = [];
  let start = 0;
  while (start < bytes.length) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    if (newline < 0 && end - start < MAX_RECORD_BYTES && !final) break;
    if (end - start > MAX_RECORD_BYTES) {
      const cut = characterBoundary(bytes, start + MAX_RECORD_BYTES);
      records.push({ at, stream, partial: true, text: '', bytes: bytes.subarray(start, cut) });
      start = cut;
    } else {
      records.push({ at, stream, partial: newline < 0, text: '', bytes: bytes.subarray(start, end) });
      start = end + (newline < 0 ? 0 : 1);
    }
  }
  return { records, consumed: start };
}

/** The last position at or before `index` that does not split a UTF-8 character. */
function characterBoundary(bytes: Buffer, index: number): number {
  let at = index;
  while (at > index - 4 && ((bytes[at] ?? 0) & 0xc0) === 0x80) at -= 1;
  return at;
}

async function openIfAny(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function readTail(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  const file = info === undefined ? undefined : await openIfAny(path);
  if (info === undefined || file === undefined) return '';
  try {
    const length = Math.min(info.size, MARKER_TAIL_BYTES);
    const buffer = Buffer.alloc(length);
    await file.read(buffer, 0, length, info.size - length);
    return buffer.toString('utf8');
  } finally {
    await file.close();
  }
}
