// The CLI's and library's way to the API: JSON in and out, problems as HeptadErrors, server-sent events.

import { HeptadError } from '@heptad/core';
import { type Dispatcher, request } from 'undici';
import { EventParser, type ReceivedEvent } from './event-parser.ts';

/** Where the platform is and who we are. */
export interface ApiClientOptions {
  /** Base URL, `http://127.0.0.1:7070`. */
  readonly server: string;
  readonly token?: string;
}

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';

const CODE_OF_STATUS: Readonly<Record<number, string>> = {
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  412: 'PRECONDITION_FAILED',
  429: 'RATE_LIMITED',
  503: 'UNAVAILABLE',
};

function isProblem(value: unknown): value is {
  detail: string;
  code: string;
  hint?: string;
  retryable?: boolean;
  details?: Record<string, unknown>;
} {
  return typeof value === 'object' && value !== null && 'detail' in value && 'code' in value;
}

/** A client of the HTTP API. */
export class ApiClient {
  readonly server: string;
  readonly #token: string | undefined;

  constructor(options: ApiClientOptions) {
    this.server = options.server.replace(/\/+$/, '');
    this.#token = options.token;
  }

  /** The header that says who we are; empty without a token. */
  authorization(): Record<string, string> {
    return this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
  }

  /** The raw response; rejects with the server's problem as a HeptadError when the status is 400 or more. */
  async raw(
    method: Method,
    path: string,
    options: { body?: string | Uint8Array; headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Dispatcher.ResponseData> {
    let response: Dispatcher.ResponseData;
    try {
      response = await request(`${this.server}${path}`, {
        method,
        headers: { ...this.authorization(), ...options.headers },
        bodyTimeout: 0,
        ...(options.body === undefined ? {} : { body: options.body }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new HeptadError(
        'UNAVAILABLE',
        `cannot reach the Heptad server at ${this.server}: ${error instanceof Error ? error.message : String(error)}`,
        {
          cause: error,
          hint: 'is it running? start it with "heptad up", or set HEPTAD_SERVER to where it is',
          retryable: method === 'GET',
        },
      );
    }
    if (response.statusCode < 400) return response;
    const text = await response.body.text();
    let problem: unknown;
    try {
      problem = JSON.parse(text);
    } catch {
      problem = undefined;
    }
    if (isProblem(problem)) {
      throw new HeptadError(problem.code, problem.detail, {
        retryable: problem.retryable ?? false,
        details: { ...problem.details, status: response.statusCode },
        ...(problem.hint === undefined ? {} : { hint: problem.hint }),
      });
    }
    throw new HeptadError(
      // An answer to HEAD has no body that could say more.
      (method === 'HEAD' ? CODE_OF_STATUS[response.statusCode] : undefined) ?? 'BAD_RESPONSE',
      `${method} ${path} answered ${response.statusCode}${text === '' ? '' : `: ${text.slice(0, 200)}`}`,
      { details: { status: response.statusCode }, hint: `is ${this.server} a Heptad server?` },
    );
  }

  /** Sends and receives JSON. The caller names the shape it relies on. */
  async json<T>(
    method: Method,
    path: string,
    body?: unknown,
    options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<T> {
    const response = await this.raw(method, path, {
      ...options,
      ...(body === undefined
        ? {}
        : {
            body: JSON.stringify(body),
            headers: { 'content-type': 'application/json', ...options.headers },
          }),
    });
    const text = await response.body.text();
    if (text === '') return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new HeptadError('BAD_RESPONSE', `${method} ${path} answered no JSON: ${text.slice(0, 200)}`, {
        cause: error,
        hint: `is ${this.server} a Heptad server?`,
      });
    }
  }

  /** Lines of a streamed text answer. */
  async *lines(path: string, signal?: AbortSignal): AsyncGenerator<string> {
    const response = await this.raw('GET', path, signal === undefined ? {} : { signal });
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = parts.pop() ?? '';
      yield* parts;
    }
    if (rest !== '') yield rest;
  }

  /**
   * The platform's events, from after `lastEventId`; ends when the connection does. `onId` hears every id to resume
   * from, also one that comes before the first event.
   */
  async *events(
    options: { lastEventId?: string; signal?: AbortSignal; onId?: (id: string) => void } = {},
  ): AsyncGenerator<ReceivedEvent> {
    const { lastEventId, signal, onId } = options;
    const response = await this.raw('GET', '/api/v1/events', {
      headers: lastEventId === undefined || lastEventId === '' ? {} : { 'last-event-id': lastEventId },
      ...(signal === undefined ? {} : { signal }),
    });
    const parser = new EventParser(lastEventId);
    const decoder = new TextDecoder();
    for await (const chunk of response.body) {
      const events = parser.push(decoder.decode(chunk, { stream: true }));
      for (const event of events) {
        yield event;
        onId?.(event.id);
      }
      onId?.(parser.lastEventId);
    }
  }
}
