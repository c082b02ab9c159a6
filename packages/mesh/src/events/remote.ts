// RemoteEventBus: an event bus that another process serves.

import {
  type Clock,
  type DeliveredEvent,
  type EventBus,
  errorMessage,
  HeptadError,
  invalidArgument,
  isHeptadError,
  type NewEvent,
  type Position,
  type Random,
  type Subscription,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { Agent, type Dispatcher } from 'undici';
import { backoffMs } from '../resilience/retry.ts';
import { withDeadline } from './deadline.ts';
import { RemoteSubscription } from './remote-subscription.ts';
import { busClosed, checkGroup, checkTopic, encodeEvent } from './rules.ts';
import { parseDeliveredList, parsePosition, parseProblem, SILENCE_MS } from './wire.ts';

/** Where and how a {@link RemoteEventBus} reaches the bus. */
export interface RemoteEventBusOptions {
  /** Where `serveEventBus` is mounted, such as `http://10.87.0.1:7070/api/v1/events-bus`. */
  readonly url: string;
  /** Bearer token, or how to get the present one (tokens are short-lived). */
  readonly token?: string | (() => string | Promise<string>);
  readonly clock?: Clock;
  readonly random?: Random;
  /** How long a publish goes on trying while the bus cannot be reached. Default 30 s. */
  readonly publishTimeoutMs?: number;
  /** Hears connection failures (it reconnects by itself) and failures of handlers (the event comes again). */
  readonly onError?: (error: unknown) => void;
}

/** One request's answer. */
export interface RemoteAnswer {
  readonly status: number;
  readonly body: Dispatcher.ResponseData['body'];
}

/** One try; the bus answers in milliseconds, or after its disk's flush. */
const REQUEST_TIMEOUT_MS = 10_000;
/** An answer is a position, a list of at most 1,000 events or a problem. */
const RETRY_BACKOFF = { baseMs: 100, maxMs: 2_000 };

/**
 * Client of `serveEventBus`. A publish without an id gets one, so that trying again after a broken connection cannot
 * publish twice; it goes on trying for 30 s, which spans a restart of the server. Subscriptions reconnect for as long as
 * they are open.
 *
 * Errors: those of the serving bus; `UNAVAILABLE` (certainly not published), `UNKNOWN_OUTCOME` (may be published: publish
 * again with the same id), `BUS_CLOSED`.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import { MemoryEventBus, RemoteEventBus, serveEventBus } from '@heptad/mesh/events';
 *
 * const bus = new MemoryEventBus();
 * const server = createServer(serveEventBus(bus));
 * await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
 * const address = server.address();
 * const port = typeof address === 'object' && address !== null ? address.port : 0;
 * const remote = new RemoteEventBus({ url: `http://127.0.0.1:${port}` });
 * console.log(await remote.publish('greetings', { data: 'hello' })); // 1
 * await remote.close();
 * server.close();
 * await bus.close();
 * ```
 */
export class RemoteEventBus implements EventBus {
  readonly #options: RemoteEventBusOptions;
  readonly #base: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #agent: Agent;
  readonly #closed = new AbortController();
  readonly #subscriptions = new Set<RemoteSubscription>();
  #closing: Promise<void> | undefined;

  constructor(options: RemoteEventBusOptions) {
    if (!/^https?:\/\//.test(options.url)) {
      throw invalidArgument(`the event bus url must begin with http:// or https://, got "${options.url}"`);
    }
    this.#options = options;
    this.#base = options.url.replace(/\/+$/, '');
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    // Streams are as long-lived as their subscriptions; silence, not age, tells that one is dead.
    this.#agent = new Agent({
      bodyTimeout: SILENCE_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      connectTimeout: 3_000,
    });
  }

  async publish(topic: string, event: NewEvent): Promise<Position> {
    checkTopic(topic);
    encodeEvent(topic, event);
    if (this.#closing !== undefined) throw busClosed(`publish to ${topic}`);
    const body = JSON.stringify({ ...event, id: event.id ?? this.#random.uuid(this.#clock.now()) });
    const deadline = this.#clock.monotonicMs() + (this.#options.publishTimeoutMs ?? 30_000);
    let unknown = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return parsePosition(await this.#text('POST', `/topics/${topic}`, `publish to ${topic}`, body));
      } catch (error) {
        unknown ||= isHeptadError(error, 'UNKNOWN_OUTCOME');
        const wait = backoffMs(attempt, this.#random, RETRY_BACKOFF);
        const again = isRepeatable(error) && this.#clock.monotonicMs() + wait < deadline;
        if (!again || this.#closing !== undefined) throw unknown ? unknownOutcome(topic, error) : error;
        this.#options.onError?.(error);
        await this.#clock.sleep(wait, this.#closed.signal).catch(() => {});
      }
    }
  }

  subscribe(
    topic: string,
    options: { group: string; from?: 'beginning' | 'end'; signal?: AbortSignal },
    handler: (event: DeliveredEvent) => Promise<void>,
  ): Subscription {
    checkTopic(topic);
    checkGroup(options.group);
    if (this.#closing !== undefined) throw busClosed(`subscribe to ${topic}`);
    const subscription = new RemoteSubscription({
      topic,
      path: `/topics/${topic}/groups/${options.group}?from=${options.from ?? 'beginning'}`,
      request: (method, path, signal, body) =>
        this.#request(method, path, `subscribe to ${topic}`, signal, body),
      clock: this.#clock,
      random: this.#random,
      handler,
      onError: this.#options.onError,
      onClosed: () => void this.#subscriptions.delete(subscription),
    });
    this.#subscriptions.add(subscription);
    options.signal?.addEventListener('abort', () => void subscription.close(), { once: true });
    if (options.signal?.aborted) void subscription.close();
    else subscription.start();
    return subscription;
  }

  async read(topic: string, options: { after?: Position; limit?: number } = {}): Promise<DeliveredEvent[]> {
    checkTopic(topic);
    if (this.#closing !== undefined) throw busClosed(`read ${topic}`);
    const query = `after=${options.after ?? 0}&limit=${options.limit ?? 100}`;
    return parseDeliveredList(await this.#text('GET', `/topics/${topic}?${query}`, `read ${topic}`));
  }

  /** Running handlers are waited for. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closed.abort();
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    await this.#agent.close();
  }

  #text(method: 'GET' | 'POST', path: string, doing: string, body?: string): Promise<string> {
    return withDeadline(this.#clock, REQUEST_TIMEOUT_MS, async (signal) => {
      const answer = await this.#request(method, path, doing, signal, body);
      try {
        return await answer.body.text();
      } catch (cause) {
        const message = `cannot ${doing}: the answer broke off: ${errorMessage(cause)}`;
        throw new HeptadError('UNKNOWN_OUTCOME', message, { cause });
      }
    });
  }

  async #request(
    method: 'GET' | 'POST',
    path: string,
    doing: string,
    signal: AbortSignal,
    body?: string,
  ): Promise<RemoteAnswer> {
    const { token } = this.#options;
    const bearer = typeof token === 'function' ? await token() : token;
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#agent.request({
        origin: new URL(this.#base).origin,
        path: new URL(`${this.#base}${path}`).pathname + new URL(`${this.#base}${path}`).search,
        method,
        signal,
        headers: {
          ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
      });
    } catch (cause) {
      throw connectionError(doing, this.#base, cause);
    }
    if (answer.statusCode === 200) return { status: 200, body: answer.body };
    throw parseProblem(answer.statusCode, await answer.body.text().catch(() => ''), doing);
  }
}

/** With the id in the event, trying again is safe even when the outcome is unknown. */
function isRepeatable(error: unknown): boolean {
  return isHeptadError(error) && (error.retryable || error.code === 'UNKNOWN_OUTCOME');
}

function unknownOutcome(topic: string, cause: unknown): HeptadError {
  if (isHeptadError(cause, 'UNKNOWN_OUTCOME')) return cause;
  return new HeptadError(
    'UNKNOWN_OUTCOME',
    `an event for ${topic} may or may not be published: ${errorMessage(cause)}`,
    {
      cause,
      hint: 'publish it again with the same id',
    },
  );
}

const NEVER_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

function connectionError(doing: string, base: string, cause: unknown): HeptadError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const message = `cannot ${doing}: no answer from the event bus at ${base}: ${errorMessage(cause)}`;
  if (NEVER_SENT.has(code)) {
    return new HeptadError('UNAVAILABLE', message, {
      cause,
      retryable: true,
      hint: 'check that the server runs',
    });
  }
  return new HeptadError('UNKNOWN_OUTCOME', message, { cause, hint: 'publish it again with the same id' });
}
