// A watch that outlives its connections: it resumes where it was and never shows an event twice.

import {
  Backoff,
  type Clock,
  HeptadError,
  type Random,
  type Revision,
  storeClosedError,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import { mayPass, type StateTransport, TransportFailure } from './remote-transport.ts';
import { fromProblem, parseAnswer, WATCH_DEAD_AFTER_MS, type WatchFrame } from './wire.ts';

/** A line longer than this is no frame: the events of one transaction with their previous values, as JSON. */
const MAXIMUM_LINE_UNITS = 64 * 1024 * 1024;
/** First and longest wait before connecting again. */
const RECONNECT_WAIT = { firstMs: 50, longestMs: 2_000 };

/** Splits bytes into the frames they carry; chunks need not end where lines do. */
async function* framesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<WatchFrame> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAXIMUM_LINE_UNITS) {
      throw new HeptadError('INVALID_ARGUMENT', 'a watch frame is longer than any can be');
    }
    for (const line of lines) yield parseAnswer.frame(JSON.parse(line));
  }
}

/** What a {@link RemoteWatch} needs. */
export interface RemoteWatchOptions {
  readonly transport: StateTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly query: WatchQuery;
  /** Aborts when the store is closed. */
  readonly closed: AbortSignal;
}

/** One watch over as many connections as it takes. */
export class RemoteWatch {
  readonly #options: RemoteWatchOptions;
  readonly #backoff: Backoff;
  /** First revision not yet seen; `undefined` until the server has said where the watch begins. */
  #next: Revision | undefined;

  constructor(options: RemoteWatchOptions) {
    this.#options = options;
    this.#backoff = new Backoff(RECONNECT_WAIT, options.random);
    this.#next = options.query.fromRevision;
  }

  /** The events, until the signal aborts (ends), the store is closed or the server refuses (throws). */
  async *events(): AsyncGenerator<readonly WatchEvent[]> {
    const { query, closed, clock } = this.#options;
    while (query.signal?.aborted !== true) {
      if (closed.aborted) throw storeClosedError();
      try {
        yield* this.#connection();
      } catch (error) {
        if (query.signal?.aborted) return;
        if (closed.aborted) throw storeClosedError();
        if (!(error instanceof TransportFailure) || !mayPass(error)) {
          throw error instanceof TransportFailure ? (error.refusal ?? error) : error;
        }
      }
      if (query.signal?.aborted || closed.aborted) continue;
      const stop = AbortSignal.any([closed, ...(query.signal === undefined ? [] : [query.signal])]);
      await clock.sleep(this.#backoff.nextMs(), stop).catch(() => {});
    }
  }

  /** The events of one connection, until it breaks. */
  async *#connection(): AsyncGenerator<readonly WatchEvent[]> {
    const { transport, clock, query, closed } = this.#options;
    const cut = new AbortController();
    const abort = (): void => cut.abort();
    const signals = [closed, ...(query.signal === undefined ? [] : [query.signal])];
    for (const signal of signals) signal.addEventListener('abort', abort, { once: true });
    if (signals.some((signal) => signal.aborted)) cut.abort();
    let heardAtMs = clock.monotonicMs();
    // A connection can die without a word (a pulled cable); the server's signs of life tell it from a quiet one.
    const watchdog = clock.interval(
      WATCH_DEAD_AFTER_MS / 3,
      () => {
        if (clock.monotonicMs() - heardAtMs > WATCH_DEAD_AFTER_MS) cut.abort();
      },
      { unref: true },
    );
    try {
      const body = {
        prefix: query.prefix,
        ...(this.#next === undefined ? {} : { fromRevision: this.#next }),
      };
      const frames = framesOf(await transport.stream('/watch', body, cut.signal));
      for await (const frame of brokenAsFailure(frames)) {
        heardAtMs = clock.monotonicMs();
        this.#backoff.reset();
        if (frame.type === 'started') this.#next ??= frame.fromRevision;
        if (frame.type === 'error') throw failureOf(frame.error);
        if (frame.type !== 'events') continue;
        this.#next = (frame.events[0]?.revision ?? 0) + 1;
        yield frame.events;
        // While the reader took its time nothing was read, so nothing was heard either.
        heardAtMs = clock.monotonicMs();
      }
    } finally {
      watchdog.cancel();
      for (const signal of signals) signal.removeEventListener('abort', abort);
      cut.abort();
    }
  }
}

function failureOf(problem: Parameters<typeof fromProblem>[0]): TransportFailure {
  const error = fromProblem(problem);
  return new TransportFailure('failed', error.message, error);
}

/** A stream that breaks is a reason to connect again, not an error of the watch. */
async function* brokenAsFailure(frames: AsyncIterable<WatchFrame>): AsyncGenerator<WatchFrame> {
  try {
    yield* frames;
  } catch (error) {
    if (error instanceof HeptadError) throw error;
    throw new TransportFailure('unknown', 'the watch was cut off', error);
  }
}
