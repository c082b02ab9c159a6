// The live events of the platform: one stream per tab, resumed where it broke off.
//
// EventSource cannot send an Authorization header, so the stream is read with fetch.

import { after } from '../lib/clock.ts';
import { parseEvent } from '../lib/events.ts';
import type { ApiClient } from './client.ts';
import { type ProblemError, toProblemError } from './problem.ts';
import { SseParser } from './sse.ts';
import type { PlatformEvent } from './types.ts';

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
/** The server sends a comment every 15 s: silence for longer than this means that the connection is dead. */
const SILENCE_MS = 40_000;

/** What happens to the stream. */
export interface EventStreamObserver {
  events(events: readonly PlatformEvent[]): void;
  /** `undefined` when connected, else why not. */
  state(problem: ProblemError | undefined): void;
}

/** Follows the events until the answer is called. */
export function followEvents(client: ApiClient, observer: EventStreamObserver): () => void {
  const stop = new AbortController();
  let lastEventId = '';
  let retryMs = FIRST_RETRY_MS;
  let cancelRetry = (): void => {};

  const connect = async (): Promise<void> => {
    const connection = new AbortController();
    const end = (): void => connection.abort();
    stop.signal.addEventListener('abort', end);
    let cancelSilence = after(SILENCE_MS, end);
    try {
      const headers = {
        accept: 'text/event-stream',
        ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId }),
      };
      const answer = await client.open('/api/v1/events', connection.signal, headers);
      observer.state(undefined);
      retryMs = FIRST_RETRY_MS;
      const parser = new SseParser();
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (
        let piece = await reader?.read();
        piece !== undefined && !piece.done;
        piece = await reader?.read()
      ) {
        cancelSilence();
        cancelSilence = after(SILENCE_MS, end);
        const events = parser.push(piece.value);
        if (parser.lastEventId !== '') lastEventId = parser.lastEventId;
        // What the server says when its source failed; it closes then, and a new connection tells more.
        const parsed = events
          .filter((event) => event.type !== 'error')
          .map((event) => parseEvent(asJson(event.data)));
        observer.events(parsed.filter((event) => event !== undefined));
      }
      throw new Error('the connection for live events was closed');
    } catch (error) {
      if (!stop.signal.aborted) observer.state(toProblemError(error));
    } finally {
      cancelSilence();
      stop.signal.removeEventListener('abort', end);
    }
    if (stop.signal.aborted) return;
    cancelRetry = after(retryMs, () => void connect());
    retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
  };

  void connect();
  return () => {
    stop.abort();
    cancelRetry();
  };
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
