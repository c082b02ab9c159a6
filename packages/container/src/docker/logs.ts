// A container's log from a Docker Engine: frames with a time stamp each, joined into lines.

import type { ContainerId, LogLine, LogOptions } from '@heptad/core';
import type { DockerConnection } from './connection.ts';
import { FrameDecoder } from './multiplex.ts';
import { dockerTime, instantOf } from './times.ts';

// The time stamp is the engine's own, RFC 3339 with nanoseconds.
const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) /;
const STAMP_MAX_BYTES = 40;
// The last nanosecond of a millisecond: our instants are whole milliseconds, the engine's bounds are not.
const LAST_NANO = 999_999;

/** What a log is read from. */
export interface LogSource {
  readonly connection: DockerConnection;
  readonly id: ContainerId;
  readonly name: string;
  /** A container with a terminal has one stream, without frames. */
  readonly tty: boolean;
}

interface StampedLine extends LogLine {
  /** The engine's own stamp, to go on from. */
  readonly stamp: string;
}

/** The lines asked for. */
export async function* dockerLogs(source: LogSource, options: LogOptions): AsyncGenerator<LogLine> {
  if (options.tail === undefined || options.stream === undefined) {
    yield* plain(request(source, options));
    return;
  }
  // The engine counts the lines of `tail` over both streams, the contract over the one that is asked for.
  const { tail, follow, ...rest } = options;
  const ring: StampedLine[] = [];
  let last: string | undefined;
  for await (const line of request(source, rest)) {
    last = line.stamp;
    ring.push(line);
    if (ring.length > tail) ring.shift();
  }
  yield* plain(ring);
  if (follow !== true) return;
  const since = last === undefined ? {} : { since: instantOf(last) ?? 0 };
  for await (const line of request(source, { ...rest, ...since, follow })) {
    if (last === undefined || line.stamp > last) yield* plain([line]);
  }
}

async function* plain(lines: AsyncIterable<StampedLine> | StampedLine[]): AsyncGenerator<LogLine> {
  for await (const { at, stream, text } of lines) yield { at, stream, text };
}

async function* request(source: LogSource, options: LogOptions): AsyncGenerator<StampedLine> {
  const { signal } = options;
  const stream = await source.connection.stream({
    method: 'GET',
    path: `/containers/${source.id}/logs`,
    query: {
      stdout: options.stream !== 'stderr',
      stderr: options.stream !== 'stdout',
      timestamps: true,
      follow: options.follow ?? false,
      tail: options.tail ?? 'all',
      since: options.since === undefined ? undefined : dockerTime(options.since),
      until: options.until === undefined ? undefined : dockerTime(options.until, LAST_NANO),
    },
    doing: `read the log of container "${source.name}"`,
  });
  // Following ends quietly with its signal, so the signal ends the stream and not the request.
  const end = (): void => {
    stream.destroy();
  };
  signal?.addEventListener('abort', end, { once: true });
  if (signal?.aborted === true) end();
  const messages = source.tty ? new TerminalMessages() : new FrameMessages();
  try {
    for await (const chunk of stream) yield* messages.push(chunk);
    yield* messages.rest();
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  } finally {
    signal?.removeEventListener('abort', end);
    stream.destroy();
  }
}

type OutputName = LogLine['stream'];

/** One frame is one message of the log; a line longer than 16 KiB is several, of which only the last ends it. */
class FrameMessages {
  private readonly decoder = new FrameDecoder();
  private readonly open: Record<OutputName, { stamp: string; parts: Uint8Array[] } | undefined> = {
    stdout: undefined,
    stderr: undefined,
  };

  push(chunk: Uint8Array): StampedLine[] {
    return this.decoder.push(chunk).flatMap((frame) => {
      const stream: OutputName = frame.stream === 'stderr' ? 'stderr' : 'stdout';
      return this.add(stream, frame.payload);
    });
  }

  rest(): StampedLine[] {
    return (['stdout', 'stderr'] as const).flatMap((stream) => this.finish(stream));
  }

  private add(stream: OutputName, payload: Uint8Array): StampedLine[] {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
    const head = bytes.subarray(0, STAMP_MAX_BYTES).toString('latin1');
    const stamp = STAMP.exec(head)?.[1] ?? '';
    const text = stamp === '' ? bytes : bytes.subarray(stamp.length + 1);
    const ends = text.at(-1) === 0x0a;
    const entry = this.open[stream] ?? { stamp, parts: [] };
    this.open[stream] = entry;
    entry.parts.push(ends ? text.subarray(0, -1) : text);
    return ends ? this.finish(stream) : [];
  }

  private finish(stream: OutputName): StampedLine[] {
    const entry = this.open[stream];
    if (entry === undefined) return [];
    this.open[stream] = undefined;
    // Joined before it is decoded: a character may lie across two messages.
    const text = Buffer.concat(entry.parts).toString('utf8');
    return [{ at: instantOf(entry.stamp) ?? 0, stamp: entry.stamp, stream, text }];
  }
}

/** Of a terminal there are only lines, each with its stamp. */
class TerminalMessages {
  private readonly decoder = new TextDecoder();
  private text = '';

  push(chunk: Uint8Array): StampedLine[] {
    const lines = (this.text + this.decoder.decode(chunk, { stream: true })).split('\n');
    this.text = lines.pop() ?? '';
    return lines.map((line) => this.line(line));
  }

  rest(): StampedLine[] {
    return this.text === '' ? [] : [this.line(this.text)];
  }

  private line(line: string): StampedLine {
    const stamp = STAMP.exec(line)?.[1] ?? '';
    const text = (stamp === '' ? line : line.slice(stamp.length + 1)).replace(/\r$/, '');
    return { at: instantOf(stamp) ?? 0, stamp, stream: 'stdout', text };
  }
}
