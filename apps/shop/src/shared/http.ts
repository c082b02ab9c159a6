// A small HTTP server: routes, limits, problem reports, health, and a way out that drops no request.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorMessage, isHeptadError, systemClock } from '@heptad/core';
import { ZodError } from 'zod';
import type { Logger } from './log.ts';
import { continueTrace, type Trace } from './trace.ts';

/** A request as handlers see it. */
export interface ServiceRequest {
  readonly method: string;
  readonly url: URL;
  /** The `:name` parts of the route. */
  readonly params: Readonly<Record<string, string>>;
  readonly headers: IncomingMessage['headers'];
  readonly trace: Trace;
  /** The body as text, at most {@link MAX_BODY_BYTES}. */
  text(): Promise<string>;
  json(): Promise<unknown>;
}

/** An answer: `json`, or `text` with its type. */
export interface ServiceResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly text?: string;
  readonly type?: string;
}

/** Answers a request, or throws a {@link HttpProblem}. */
export type Handler = (request: ServiceRequest) => Promise<ServiceResponse>;

/** Handlers by `METHOD /path/:param`. */
export type Routes = Readonly<Record<string, Handler>>;

/** An error with a status of its own. */
export class HttpProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(status: number, code: string, message: string, hint?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** An order of a hundred items is 5 KiB. */
export const MAX_BODY_BYTES = 64 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_CONNECTIONS = 1024;
/** A client's keep-alive connection outlives the mesh proxy's idle limit, so the proxy, not we, closes it first. */
const KEEP_ALIVE_MS = 65_000;

/** What a {@link HttpService} serves. */
export interface HttpServiceOptions {
  readonly host: string;
  readonly port: number;
  readonly routes: Routes;
  readonly log: Logger;
  /** Why the service cannot take requests now; `undefined` when it can. */
  readonly notReady: () => string | undefined;
  /** Turns a problem into an answer; default a problem report (RFC 9457). */
  readonly problemPage?: (problem: HttpProblem, request: ServiceRequest) => ServiceResponse;
}

/** A running server. */
export class HttpService {
  readonly #server: Server;
  readonly #options: HttpServiceOptions;
  readonly #routes: readonly { method: string; pattern: RegExp; names: string[]; handler: Handler }[];
  #draining = false;

  constructor(options: HttpServiceOptions) {
    this.#options = options;
    this.#routes = Object.entries(options.routes).map(([route, handler]) => ({ ...compile(route), handler }));
    this.#server = createServer(
      { requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_MS },
      (incoming, outgoing) => void this.#answer(incoming, outgoing),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Listens; resolves with the port. */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, resolve);
    });
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  /** Says "not ready" for `graceMs`, so that balancers look elsewhere, then answers what came in and closes. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    await systemClock.sleep(graceMs);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await closed;
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const began = systemClock.monotonicMs();
    const trace = continueTrace(one(incoming.headers.traceparent));
    let url: URL;
    let response: ServiceResponse;
    try {
      url = new URL(incoming.url ?? '/', 'http://service');
      response = await this.#respond(incoming, url, trace);
    } catch (error) {
      url = new URL('http://service/');
      response = problemReport(asProblem(error));
    }
    send(incoming, outgoing, response, trace, this.#draining);
    if (url.pathname === '/healthz' || url.pathname === '/readyz') return;
    this.#options.log.info('request', {
      method: incoming.method,
      path: url.pathname,
      status: response.status,
      durationMs: Math.round((systemClock.monotonicMs() - began) * 10) / 10,
      traceId: trace.traceId,
    });
  }

  async #respond(incoming: IncomingMessage, url: URL, trace: Trace): Promise<ServiceResponse> {
    const { method = 'GET', headers } = incoming;
    const text = (): Promise<string> => readText(incoming);
    const json = async (): Promise<unknown> => parseJson(await text());
    const base = { method, url, headers, trace, text, json };
    try {
      if (url.pathname === '/healthz') return { status: 200, json: { status: 'ok' } };
      if (url.pathname === '/readyz') return this.#readiness();
      const { handler, params } = this.#find(method, url.pathname);
      return await handler({ ...base, params });
    } catch (error) {
      const problem = asProblem(error);
      if (problem.status >= 500) {
        this.#options.log.error('request failed', error, { path: url.pathname, traceId: trace.traceId });
      }
      return this.#options.problemPage?.(problem, { ...base, params: {} }) ?? problemReport(problem);
    }
  }

  #readiness(): ServiceResponse {
    const reason = this.#draining ? 'shutting down' : this.#options.notReady();
    return reason === undefined
      ? { status: 200, json: { status: 'ready' } }
      : { status: 503, json: { status: 'not ready', reason } };
  }

  #find(method: string, path: string): { handler: Handler; params: Record<string, string> } {
    let known = false;
    const wanted = method === 'HEAD' ? 'GET' : method;
    for (const route of this.#routes) {
      const match = route.pattern.exec(path);
      if (match === null) continue;
      known = true;
      if (route.method !== wanted) continue;
      const params = Object.fromEntries(route.names.map((name, at) => [name, decode(match[at + 1] ?? '')]));
      return { handler: route.handler, params };
    }
    if (known) throw new HttpProblem(405, 'METHOD_NOT_ALLOWED', `${path} cannot be used with ${method}`);
    throw new HttpProblem(404, 'NOT_FOUND', `there is nothing at ${path}`);
  }
}

/** A problem as RFC 9457 JSON. */
export function problemReport(problem: HttpProblem): ServiceResponse {
  const { status, code, message, hint } = problem;
  const json = { type: 'about:blank', title: code, status, code, detail: message, ...(hint ? { hint } : {}) };
  return { status, json, type: 'application/problem+json' };
}

function asProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof ZodError) {
    const issues = error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
    return new HttpProblem(400, 'INVALID_REQUEST', issues.join('; '));
  }
  if (isHeptadError(error)) {
    return new HttpProblem(STATUS[error.code] ?? 500, error.code, error.message, error.hint);
  }
  return new HttpProblem(500, 'INTERNAL_ERROR', errorMessage(error));
}

/** What the platform's errors mean to the caller of a service. */
const STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  READ_FAILED: 503,
  WRITE_FAILED: 503,
  LAYOUT_UNAVAILABLE: 503,
  UNAVAILABLE: 503,
  UNKNOWN_OUTCOME: 503,
  INSUFFICIENT_SPACE: 507,
};

function compile(route: string): { method: string; pattern: RegExp; names: string[] } {
  const [method = 'GET', path = '/'] = route.split(' ');
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name);
  return { method, names, pattern: new RegExp(`^${path.replace(/:\w+/g, '([^/]+)')}$`) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new HttpProblem(400, 'INVALID_REQUEST', `"${segment}" is not percent-encoded text`);
  }
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    const part: Buffer = chunk;
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new HttpProblem(413, 'BODY_TOO_LARGE', `the body is larger than ${MAX_BODY_BYTES} bytes`);
    }
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpProblem(400, 'INVALID_JSON', `the body is not JSON: ${errorMessage(error)}`);
  }
}

function send(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  response: ServiceResponse,
  trace: Trace,
  draining: boolean,
): void {
  const body = Buffer.from(
    response.text ?? (response.json === undefined ? '' : JSON.stringify(response.json)),
  );
  const type =
    response.type ?? (response.json === undefined ? 'text/plain; charset=utf-8' : 'application/json');
  outgoing.writeHead(response.status, {
    'content-type': type,
    'content-length': body.length,
    traceparent: trace.traceparent,
    // An unread rest of the body would be taken for the next request; a closing server wants no next request.
    ...(incoming.complete && !draining ? {} : { connection: 'close' }),
    ...response.headers,
  });
  outgoing.end(incoming.method === 'HEAD' ? undefined : body);
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
