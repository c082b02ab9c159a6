// The CLI's and library's way to the API: JSON in and out, problems as HeptadErrors, server-sent events.

import { HeptadError } from '@heptad/core';
import { type Dispatcher, request } from 'undici';

/** Where the platform is and who we are. */
export interface ApiClientOptions {
  /** Base URL, `http://127.0.0.1:7070`. */
  readonly server: string;
  readonly token?: string;
}

/** A server-sent event. */
export interface ReceivedEvent {
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
}

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';

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
      'BAD_RESPONSE',
      `${method} ${path} answered ${response.statusCode}: ${text.slice(0, 200)}`,
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
    return (text === '' ? undefined : JSON.parse(text)) as T;
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

  /** The platform's events, from after `lastEventId`; ends when the connection does. */
  async *events(options: { lastEventId?: string; signal?: AbortSignal } = {}): AsyncGenerator<ReceivedEvent> {
    const response = await this.raw('GET', '/api/v1/events', {
      headers: options.lastEventId === undefined ? {} : { 'last-event-id': options.lastEventId },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body) {
      const blocks = (rest + decoder.decode(chunk, { stream: true })).split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const event = parseEventBlock(block);
        if (event !== undefined) yield event;
      }
    }
  }
}

function parseEventBlock(block: string): ReceivedEvent | undefined {
  let id = '';
  let type = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const field = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') id = value;
    else if (field === 'event') type = value;
    else if (field === 'data') data.push(value);
  }
  return data.length === 0 ? undefined : { id, type, data: JSON.parse(data.join('\n')) };
}
