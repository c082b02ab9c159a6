// RemoteObjectStore: objects over a platform's HTTP API, for those who must not or cannot reach the storage nodes themselves.

import { createHash } from 'node:crypto';
import {
  type Clock,
  type ConsistencyLevel,
  errorMessage,
  type GetOptions,
  HeptadError,
  isHeptadError,
  type ObjectBody,
  type ObjectInfo,
  type ObjectRead,
  type ObjectStore,
  type PutOptions,
  systemClock,
} from '@heptad/core';
import { Agent, type Dispatcher } from 'undici';
import { z } from 'zod';
import { collectBody } from '../client/body.ts';
import { wasNeverSent } from '../wire/never-sent.ts';
import {
  CONSISTENCY_HEADER,
  ERROR_CODE_HEADER,
  formatMetadataHeader,
  OBJECT_INFO_HEADER,
  OBJECT_METADATA_HEADER,
  parseInfo,
  parseInfoHeader,
  parsePage,
} from './object-http.ts';

/** How to open a {@link RemoteObjectStore}. */
export interface RemoteObjectStoreOptions {
  /** Base of the objects' API, such as `http://127.0.0.1:7070/api/v1/storage`. */
  readonly url: string;
  /** Bearer token, or a function that gives the present one (tokens rotate). */
  readonly token?: string | (() => string | Promise<string>);
  /** A server that certainly did nothing is asked again for so long. Default 5000. */
  readonly patienceMs?: number;
  readonly clock?: Clock;
  /** For TLS identities, proxies and tests. Default: an agent of its own. */
  readonly dispatcher?: Dispatcher;
}

const DEFAULT_PATIENCE_MS = 5_000;
const RETRY_MS = 100;
/** Objects of one page of a list. */
const PAGE = 1_000;
/** Codes with which a server says that it did nothing and a later try may succeed. */
const TRY_LATER: ReadonlySet<string> = new Set(['UNAVAILABLE', 'STORE_CLOSED', 'RATE_LIMITED']);

const problemSchema = z.object({
  code: z.string(),
  detail: z.string(),
  hint: z.string().optional(),
  retryable: z.boolean().default(false),
  details: z.record(z.string(), z.unknown()).default({}),
});

interface Wanted {
  readonly method: 'GET' | 'PUT' | 'HEAD' | 'DELETE';
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

interface Answer {
  readonly headers: Dispatcher.ResponseData['headers'];
  readonly body: Uint8Array;
}

/**
 * An {@link ObjectStore} over HTTP.
 *
 * `read-your-writes` is asked for as `strong`, which keeps its promise without a session. What was read is verified against its
 * SHA-256. A write whose outcome nobody knows is `UNKNOWN_OUTCOME` and never repeated; one that certainly was not done is, for
 * `patienceMs`. Bodies are gathered in memory first.
 *
 * @example
 * ```ts
 * import { RemoteObjectStore } from '@heptad/storage';
 *
 * export async function remember(server: string, token: string): Promise<string> {
 *   await using objects = new RemoteObjectStore({ url: `${server}/api/v1/storage`, token });
 *   const { etag } = await objects.put('notes', 'today', 'buy pears');
 *   return etag;
 * }
 * ```
 */
export class RemoteObjectStore implements ObjectStore {
  readonly #options: RemoteObjectStoreOptions;
  readonly #origin: string;
  readonly #base: string;
  readonly #clock: Clock;
  readonly #dispatcher: Dispatcher;

  constructor(options: RemoteObjectStoreOptions) {
    const url = new URL(options.url);
    this.#options = options;
    this.#origin = url.origin;
    this.#base = url.pathname.replace(/\/+$/, '');
    this.#clock = options.clock ?? systemClock;
    this.#dispatcher = options.dispatcher ?? new Agent();
  }

  async put(bucket: string, key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const bytes = await collectBody(body, options.signal);
    const answer = await this.#ask({
      method: 'PUT',
      path: this.#path(bucket, key),
      body: bytes,
      headers: {
        'content-type': 'application/octet-stream',
        ...consistencyHeader(options.consistency),
        ...(options.ifMatch === undefined ? {} : { 'if-match': `"${options.ifMatch}"` }),
        ...(options.ifNoneMatch === undefined ? {} : { 'if-none-match': options.ifNoneMatch }),
        ...(options.metadata === undefined
          ? {}
          : { [OBJECT_METADATA_HEADER]: formatMetadataHeader(options.metadata) }),
      },
      signal: options.signal,
    });
    return parseInfo(JSON.parse(Buffer.from(answer.body).toString('utf8')));
  }

  async get(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectRead> {
    const { range, signal } = options;
    const { headers, body } = await this.#ask({
      method: 'GET',
      path: this.#path(bucket, key),
      headers: {
        ...consistencyHeader(options.consistency),
        ...(range === undefined ? {} : { range: `bytes=${range.start}-${range.end ?? ''}` }),
      },
      signal,
    });
    const info = infoOf(headers);
    // A part cannot be checked against the whole's digest: there the server's own check counts.
    if (range === undefined && createHash('sha256').update(body).digest('hex') !== info.sha256) {
      throw new HeptadError('DATA_CORRUPT', `${bucket}/${key} arrived damaged: its SHA-256 does not fit`, {
        retryable: true,
        hint: 'read it again',
      });
    }
    return { info, body };
  }

  async head(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectInfo> {
    const { headers } = await this.#ask({
      method: 'HEAD',
      path: this.#path(bucket, key),
      headers: consistencyHeader(options.consistency),
      signal: options.signal,
    });
    return infoOf(headers);
  }

  async delete(
    bucket: string,
    key: string,
    options: Pick<PutOptions, 'consistency' | 'session' | 'ifMatch' | 'signal'> = {},
  ): Promise<void> {
    await this.#ask({
      method: 'DELETE',
      path: this.#path(bucket, key),
      headers: {
        ...consistencyHeader(options.consistency),
        ...(options.ifMatch === undefined ? {} : { 'if-match': `"${options.ifMatch}"` }),
      },
      signal: options.signal,
    });
  }

  async *list(
    bucket: string,
    options: { prefix?: string; after?: string; limit?: number; signal?: AbortSignal } = {},
  ): AsyncIterable<ObjectInfo> {
    const { prefix, signal } = options;
    let cursor = options.after;
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    while (left > 0) {
      const query = new URLSearchParams({ limit: String(Math.min(PAGE, left)) });
      if (prefix !== undefined) query.set('prefix', prefix);
      if (cursor !== undefined) query.set('cursor', cursor);
      const path = `${this.#base}/${encodeURIComponent(bucket)}?${query}`;
      const { body } = await this.#ask({ method: 'GET', path, signal });
      const page = parsePage(JSON.parse(Buffer.from(body).toString('utf8')));
      yield* page.items;
      left -= page.items.length;
      if (page.nextCursor === undefined) return;
      cursor = page.nextCursor;
    }
  }

  /** Closes the connections it opened. */
  async close(): Promise<void> {
    if (this.#options.dispatcher === undefined) await this.#dispatcher.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // The slashes of a key are encoded too, so that nobody on the way takes `a/../b` for a path.
  #path(bucket: string, key: string): string {
    return `${this.#base}/${encodeURIComponent(bucket)}/${encodeURIComponent(key)}`;
  }

  async #ask(wanted: Wanted): Promise<Answer> {
    const deadlineMs = this.#clock.monotonicMs() + (this.#options.patienceMs ?? DEFAULT_PATIENCE_MS);
    for (;;) {
      try {
        return await this.#once(wanted);
      } catch (error) {
        wanted.signal?.throwIfAborted();
        const again = isHeptadError(error) && TRY_LATER.has(error.code);
        if (!again || this.#clock.monotonicMs() >= deadlineMs) throw error;
        await this.#clock.sleep(RETRY_MS, wanted.signal);
      }
    }
  }

  async #once({ method, path, headers = {}, body, signal }: Wanted): Promise<Answer> {
    const { token } = this.#options;
    const bearer = typeof token === 'function' ? await token() : token;
    let status: number;
    let answer: Answer;
    try {
      const response = await this.#dispatcher.request({
        origin: this.#origin,
        path,
        method,
        headers: { ...headers, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) },
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
      });
      status = response.statusCode;
      answer = { headers: response.headers, body: new Uint8Array(await response.body.arrayBuffer()) };
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#lost(method, path, error);
    }
    if (status < 400) return answer;
    throw refusal(`${method} ${path}`, status, answer);
  }

  #lost(method: string, path: string, cause: unknown): HeptadError<string> {
    const certain = method === 'GET' || method === 'HEAD' || wasNeverSent(cause);
    return new HeptadError(
      certain ? 'UNAVAILABLE' : 'UNKNOWN_OUTCOME',
      `${method} ${this.#origin}${path}: ${errorMessage(cause)}`,
      {
        cause,
        retryable: certain,
        hint: certain ? 'is the server running?' : 'read the object before you write it again',
      },
    );
  }
}

function infoOf(headers: Answer['headers']): ObjectInfo {
  const text = headers[OBJECT_INFO_HEADER];
  if (typeof text === 'string') return parseInfoHeader(text);
  throw new HeptadError('BAD_RESPONSE', `the answer has no ${OBJECT_INFO_HEADER} header`, {
    hint: 'is the address that of a Heptad platform?',
  });
}

function refusal(asked: string, status: number, { headers, body }: Answer): HeptadError<string> {
  const text = Buffer.from(body).toString('utf8');
  // An answer to HEAD has no body that could hold a problem.
  const code = headers[ERROR_CODE_HEADER];
  if (text === '' && typeof code === 'string') return new HeptadError(code, `${asked} answered ${status}`);
  try {
    const problem = problemSchema.parse(JSON.parse(text));
    const { detail, hint, retryable, details } = problem;
    return new HeptadError(problem.code, detail, {
      retryable,
      details,
      ...(hint === undefined ? {} : { hint }),
    });
  } catch {
    return new HeptadError('BAD_RESPONSE', `${asked} answered ${status}: ${text.slice(0, 200)}`);
  }
}

function consistencyHeader(level: ConsistencyLevel | undefined): Record<string, string> {
  if (level === undefined) return {};
  return { [CONSISTENCY_HEADER]: level === 'read-your-writes' ? 'strong' : level };
}
