// Attaching to a container: its output from its log, so that no client can hold up another; its input by the driver.

import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import type { AttachOptions, AttachSession, Clock } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { followOutput, type Output, type OutputOptions } from './log-bytes.ts';
import { logNow } from './log-chunks.ts';

// A watch can miss a change when the kernel's queue is full; a look this often finds what it missed.
const LOOK_ANYWAY_MS = 100;
// Records read ahead for a client that reads only one of the two streams; beyond it the older are dropped for that stream.
const MAX_AHEAD_BYTES = 16 * 1024 * 1024;

/** The way into a container's standard input. */
export interface InputChannel {
  write(bytes: Uint8Array): Promise<void>;
  /** The process sees the end of its input. */
  end(): Promise<void>;
  /** Lets go; the input stays open for others. */
  close(): void;
}

/** What attaching needs to know of the container. */
export interface AttachTarget {
  readonly name: string;
  readonly logPath: string;
  readonly clock: Clock;
  readonly hasEnded: () => boolean;
  /** Absent unless standard input was asked for. */
  readonly input?: InputChannel;
}

/** Joins a container. */
export async function attachSession(target: AttachTarget, options: AttachOptions): Promise<AttachSession> {
  const leaving = new AbortController();
  const signal =
    options.signal === undefined ? leaving.signal : AbortSignal.any([leaving.signal, options.signal]);
  signal.addEventListener('abort', () => target.input?.close(), { once: true });
  const waker = new LogWaker(target.logPath, target.clock, signal);
  const records = followOutput(target.logPath, target.clock, target.hasEnded, {
    start: await startOf(target, options),
    signal,
    wake: () => waker.next(),
  });
  const split = new Splitter(records, () => {
    waker.close();
    target.input?.close();
  });
  return {
    stdout: split.stream('stdout'),
    stderr: split.stream('stderr'),
    write: async (bytes) => await inputOf(target).write(bytes),
    end: async () => await inputOf(target).end(),
    detach: async () => leaving.abort(),
  };
}

async function startOf(
  { logPath }: AttachTarget,
  { replay = false }: AttachOptions,
): Promise<OutputOptions['start']> {
  if (replay === true) return 'beginning';
  // Found before the session exists: the answer to what a client writes must be neither missed nor counted as replay.
  const before = await logNow(logPath);
  return replay === false ? before : { lines: replay, before };
}

function inputOf(target: AttachTarget): InputChannel {
  if (target.input !== undefined) return target.input;
  throw new ContainerError(
    'NOT_SUPPORTED',
    `cannot write to standard input of container "${target.name}": it was attached without`,
    { hint: 'attach with { stdin: true }' },
  );
}

/** Wakes a follower of a log as soon as the file changes. */
class LogWaker {
  private readonly clock: Clock;
  private watcher: FSWatcher | undefined;
  private changes = 0;
  private seen = 0;
  private wake: () => void = () => undefined;

  constructor(path: string, clock: Clock, signal: AbortSignal) {
    this.clock = clock;
    signal.addEventListener('abort', () => this.wake(), { once: true });
    try {
      this.watcher = watch(dirname(path), { persistent: false }, () => {
        this.changes += 1;
        this.wake();
      });
      // Without a watch, when there are too many, looking anyway still finds everything.
      this.watcher.on('error', () => this.close());
    } catch {
      this.watcher = undefined;
    }
  }

  /** Resolves when something has changed since the last call, or after a while, or when the client leaves. */
  async next(): Promise<void> {
    if (this.changes !== this.seen) {
      this.seen = this.changes;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.wake = resolve;
    const timer = this.clock.timer(LOOK_ANYWAY_MS, resolve);
    await promise;
    timer.cancel();
    this.seen = this.changes;
  }

  close(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }
}

/** One source of records as two streams, each read at its own pace. */
class Splitter {
  private readonly source: AsyncGenerator<Output>;
  private readonly finished: () => void;
  private readonly waiting: Record<Output['stream'], Uint8Array[]> = { stdout: [], stderr: [] };
  private readonly ahead: Record<Output['stream'], number> = { stdout: 0, stderr: 0 };
  private pull: Promise<void> | undefined;
  private done = false;

  constructor(source: AsyncGenerator<Output>, finished: () => void) {
    this.source = source;
    this.finished = finished;
  }

  async *stream(name: Output['stream']): AsyncGenerator<Uint8Array> {
    for (;;) {
      const bytes = this.waiting[name].shift();
      if (bytes !== undefined) {
        this.ahead[name] -= bytes.length;
        yield bytes;
      } else if (this.done) return;
      else await this.more();
    }
  }

  /** Takes one more record from the source; two readers that want one share it. */
  private more(): Promise<void> {
    this.pull ??= this.source
      .next()
      .then(({ done, value }) => {
        if (done === true) this.finish();
        else this.keep(value);
      })
      .finally(() => {
        this.pull = undefined;
      });
    return this.pull;
  }

  private keep({ stream, bytes }: Output): void {
    this.waiting[stream].push(bytes);
    this.ahead[stream] += bytes.length;
    while (this.ahead[stream] > MAX_AHEAD_BYTES) {
      this.ahead[stream] -= this.waiting[stream].shift()?.length ?? 0;
    }
  }

  private finish(): void {
    this.done = true;
    this.finished();
  }
}
