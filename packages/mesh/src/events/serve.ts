// serveEventBus: an event bus over HTTP, for processes and containers that do not have its file.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type Clock,
  type DeliveredEvent,
  type EventBus,
  errorMessage,
  HeptadError,
  invalidArgument,
  isHeptadError,
  systemClock,
} from '@heptad/core';
import { CONSUMER_GONE } from './journal-subscription.ts';
import { HEARTBEAT_MS, MAX_PUBLISH_BYTES, parsePublish, STREAM_TYPE } from './wire.ts';

/** What a request wants to do, for {@link ServeEventBusOptions.authorize}. */
export interface EventBusAccess {
  readonly action: 'publish' | 'subscribe' | 'read';
  readonly topic: string;
  readonly group?: string;
}

/** How an event bus is served. */
export interface ServeEventBusOptions {
  readonly clock?: Clock;
  /**
   * Whether the request may; a rejection with code `UNAUTHENTICATED` or `FORBIDDEN` is answered with its message.
   * Default: everybody who can reach the server may.
   */
  readonly authorize?: (request: IncomingMessage, access: EventBusAccess) => boolean | Promise<boolean>;
  /** Subscriptions at once. Default 1,000. */
  readonly maxSubscriptions?: number;
}

/** Serves one request; resolves when the response is complete. Never rejects. */
export type EventBusHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

interface OpenDelivery {
  readonly settle: (error: HeptadError | undefined) => void;
}

const ROUTE = /(?:^|\/)topics\/([^/]+)(?:\/groups\/([^/]+))?$/;
const DELIVERY_ROUTE = /(?:^|\/)deliveries\/([0-9a-f]{32})$/;
const DEFAULT_MAX_SUBSCRIPTIONS = 1_000;

/**
 * A framework-free HTTP handler for an event bus; mount it at any path.
 *
 * - `POST …/topics/<topic>` publishes; answers `{ position }` when the event is durable.
 * - `GET …/topics/<topic>?after=&limit=` reads.
 * - `GET …/topics/<topic>/groups/<group>?from=` subscribes: a stream of JSON lines, one event at a time; an empty line is a
 *   heartbeat. `POST …/deliveries/<id>` with `{"ok":true|false}` settles the event. When the stream breaks, its event goes to
 *   another member at once.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import { MemoryEventBus, serveEventBus } from '@heptad/mesh/events';
 *
 * const bus = new MemoryEventBus();
 * const server = createServer(serveEventBus(bus));
 * server.listen(0, () => server.close());
 * await bus.close();
 * ```
 */
export function serveEventBus(bus: EventBus, options: ServeEventBusOptions = {}): EventBusHandler {
  const server = new EventBusServer(bus, options);
  return (request, response) => server.serve(request, response);
}

class EventBusServer {
  readonly #bus: EventBus;
  readonly #options: ServeEventBusOptions;
  readonly #clock: Clock;
  readonly #deliveries = new Map<string, OpenDelivery>();
  #subscriptions = 0;

  constructor(bus: EventBus, options: ServeEventBusOptions) {
    this.#bus = bus;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response);
    } catch (error) {
      sendProblem(response, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://bus');
    const delivery = DELIVERY_ROUTE.exec(url.pathname)?.[1];
    // The unguessable id of a delivery is leave enough: only its subscriber knows it.
    if (delivery !== undefined && request.method === 'POST') return this.#settle(delivery, request, response);
    const match = ROUTE.exec(url.pathname);
    if (match?.[1] === undefined) throw notFound(url.pathname);
    const topic = decode(match[1]);
    const group = match[2] === undefined ? undefined : decode(match[2]);
    if (request.method === 'POST' && group === undefined) {
      await this.#authorize(request, { action: 'publish', topic });
      const event = parsePublish(await readBody(request));
      send(response, 200, { position: await this.#bus.publish(topic, event) });
    } else if (request.method === 'GET' && group === undefined) {
      await this.#authorize(request, { action: 'read', topic });
      const after = numberParameter(url, 'after') ?? 0;
      const limit = numberParameter(url, 'limit') ?? 100;
      send(response, 200, { events: await this.#bus.read(topic, { after, limit }) });
    } else if (request.method === 'GET' && group !== undefined) {
      await this.#authorize(request, { action: 'subscribe', topic, group });
      await this.#subscribe(topic, group, url.searchParams.get('from'), response);
    } else throw new HeptadError('METHOD_NOT_ALLOWED', `${request.method} is not served at ${url.pathname}`);
  }

  async #authorize(request: IncomingMessage, access: EventBusAccess): Promise<void> {
    if (this.#options.authorize === undefined || (await this.#options.authorize(request, access))) return;
    throw new HeptadError('FORBIDDEN', `the caller may not ${access.action} topic ${access.topic}`, {
      hint: 'use a token that grants it',
    });
  }

  async #subscribe(
    topic: string,
    group: string,
    from: string | null,
    response: ServerResponse,
  ): Promise<void> {
    if (from !== null && from !== 'beginning' && from !== 'end') {
      throw invalidArgument(`from must be "beginning" or "end", got "${from}"`);
    }
    if (this.#subscriptions >= (this.#options.maxSubscriptions ?? DEFAULT_MAX_SUBSCRIPTIONS)) {
      throw new HeptadError('OVERLOADED', `cannot subscribe to ${topic}: too many subscriptions`, {
        retryable: true,
      });
    }
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const subscription = this.#bus.subscribe(topic, { group, ...(from === null ? {} : { from }) }, (event) =>
      this.#deliver(event, response, gone.signal),
    );
    this.#subscriptions += 1;
    response.writeHead(200, { 'content-type': STREAM_TYPE, 'cache-control': 'no-store' });
    response.write('\n');
    const heartbeat = this.#clock.interval(HEARTBEAT_MS, () => response.write('\n'), { unref: true });
    await aborted(gone.signal);
    heartbeat.cancel();
    this.#subscriptions -= 1;
    await subscription.close();
  }

  /** Sends an event and waits for its settling; the end of the stream gives it back. */
  async #deliver(event: DeliveredEvent, response: ServerResponse, gone: AbortSignal): Promise<void> {
    if (gone.aborted) throw consumerGone(event);
    const name = randomBytes(16).toString('hex');
    try {
      await new Promise<void>((resolve, reject) => {
        const onGone = (): void => reject(consumerGone(event));
        gone.addEventListener('abort', onGone, { once: true });
        const settle = (error: HeptadError | undefined): void => {
          gone.removeEventListener('abort', onGone);
          if (error === undefined) resolve();
          else reject(error);
        };
        this.#deliveries.set(name, { settle });
        response.write(`${JSON.stringify({ delivery: name, event })}\n`);
      });
    } finally {
      this.#deliveries.delete(name);
    }
  }

  async #settle(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const delivery = this.#deliveries.get(name);
    if (delivery === undefined) {
      throw new HeptadError('DELIVERY_GONE', 'the delivery was settled before or given to another member', {
        hint: 'nothing: the event comes again where it must',
      });
    }
    const ok = parseSettlement(body);
    delivery.settle(
      ok ? undefined : new HeptadError('HANDLER_FAILED', 'the remote handler rejected the event'),
    );
    send(response, 200, {});
  }
}

function parseSettlement(body: string): boolean {
  if (body === '{"ok":true}') return true;
  if (body === '{"ok":false}') return false;
  throw invalidArgument('a settlement must be {"ok":true} or {"ok":false}');
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_PUBLISH_BYTES) {
      throw new HeptadError('EVENT_TOO_LARGE', `the request is over ${MAX_PUBLISH_BYTES} bytes`, {
        hint: 'put large content into the object store and publish its key',
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new HeptadError('INVALID_ARGUMENT', `"${segment}" is not a valid path segment`, { cause });
  }
}

function numberParameter(url: URL, name: string): number | undefined {
  const text = url.searchParams.get(name);
  if (text === null) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw invalidArgument(`${name} must be a whole number, got "${text}"`);
  return Number(text);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function consumerGone(event: DeliveredEvent): HeptadError {
  return new HeptadError(
    CONSUMER_GONE,
    `the consumer of event ${event.position} of ${event.topic} went away`,
  );
}

function notFound(path: string): HeptadError {
  return new HeptadError('NOT_FOUND', `there is nothing at ${path}`);
}

const STATUS_OF: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  DELIVERY_GONE: 410,
  EVENT_TOO_LARGE: 413,
  OVERLOADED: 503,
  TOPIC_FULL: 503,
  BUS_CLOSED: 503,
};

function sendProblem(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const known = isHeptadError(error);
  const code = known ? error.code : 'INTERNAL';
  const status = STATUS_OF[code] ?? 500;
  const body = JSON.stringify({
    title: code,
    status,
    code,
    detail: errorMessage(error),
    ...(known && error.hint !== undefined ? { hint: error.hint } : {}),
    retryable: known ? error.retryable || status === 503 : false,
  });
  response.writeHead(status, { 'content-type': 'application/problem+json', connection: 'close' });
  response.end(body);
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
