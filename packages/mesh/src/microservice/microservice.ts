// Microservice: a service in a few lines: server, routes, health, registration, traces, metrics, graceful end.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Clock, HeptadError, systemClock } from '@heptad/core';
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { RequestInit, Response } from 'undici';
import type { MeshClient } from '../client/mesh-client.ts';
import type { Registration } from '../registry/registration.ts';
import type { ServiceRegistry } from '../registry/service-registry.ts';
import { runInTrace } from '../telemetry/current-trace.ts';
import { RequestMetrics } from '../telemetry/metrics.ts';
import { type TracedRequest, traceRequest } from '../telemetry/spans.ts';
import {
  parseJson,
  problemOf,
  readBody,
  type ServiceRequest,
  type ServiceResponse,
  sendResponse,
} from './http.ts';
import { isAnyAddress, listen, outwardAddress, portOf } from './listen.ts';
import { RouteTable, type ServiceRoutes } from './routes.ts';

/** What a {@link Microservice} is made of. */
export interface MicroserviceOptions {
  /** Service name, a DNS label. */
  readonly name: string;
  readonly version?: string;
  /** Handlers by `METHOD /path/:param`; or override {@link Microservice.handle}. */
  readonly routes?: ServiceRoutes;
  /** Announces the service while it runs. */
  readonly registry?: ServiceRegistry;
  /** For {@link Microservice.call}. */
  readonly client?: MeshClient;
  /** Address to listen on. Default env HOST, else 0.0.0.0. */
  readonly host?: string;
  /** Default env PORT, else 0: any free port. */
  readonly port?: number;
  /** Address told to the registry. Default the host, or this machine's first outward address for 0.0.0.0. */
  readonly advertise?: string;
  /** Default `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Largest request body. Default 1 MiB. */
  readonly maxBodyBytes?: number;
  readonly clock?: Clock;
  /** Hears errors of handlers that are no HeptadError: callers only see a 500. */
  readonly onError?: (error: unknown, request: ServiceRequest) => void;
}

const DEFAULT_MAX_BODY_BYTES = 1_048_576;
/** Longer than clients and proxies keep idle connections, so that never we close one just as it is used. */
const KEEP_ALIVE_MS = 65_000;
/** Callers need this long to hear that we are draining. */
const PROPAGATION_MS = 500;

/**
 * Base of a service. Serves `routes`, answers `GET /healthz` (the process works) and `GET /readyz` (wants requests: 503
 * while draining), continues traces, measures `http.server.request.duration`.
 *
 * Errors of `start`: `PORT_IN_USE`, `LISTEN_FAILED`, those of the registry.
 *
 * @example
 * ```ts
 * import { Microservice } from '@heptad/mesh';
 *
 * const service = new Microservice({
 *   name: 'greeter',
 *   host: '127.0.0.1',
 *   routes: { 'GET /hello/:name': ({ params }) => ({ body: { hello: params.name } }) },
 * });
 * const { url } = await service.start();
 * console.log(await (await fetch(`${url}/hello/ada`)).json()); // { hello: 'ada' }
 * await service.close();
 * ```
 */
export class Microservice implements AsyncDisposable {
  readonly name: string;
  readonly version: string | undefined;
  readonly #options: MicroserviceOptions;
  readonly #clock: Clock;
  readonly #routes: RouteTable;
  readonly #metrics = new RequestMetrics('http.server');
  #server: Server | undefined;
  #registration: Registration | undefined;
  #draining = false;
  #closing: Promise<void> | undefined;

  constructor(options: MicroserviceOptions) {
    this.name = options.name;
    this.version = options.version;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#routes = new RouteTable(options.routes ?? {});
  }

  /** Answers a request; the default looks it up in `routes`. */
  handle(request: ServiceRequest): ServiceResponse | Promise<ServiceResponse> {
    const { handler, params } = this.#routes.find(request.method, request.path);
    return handler({ ...request, params });
  }

  /** Listens, then registers. */
  async start(): Promise<{ readonly address: string; readonly port: number; readonly url: string }> {
    const environment = this.#options.environment ?? process.env;
    const host = this.#options.host ?? environment.HOST ?? '0.0.0.0';
    const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      void this.#serve(request, response);
    });
    this.#server = server;
    const port = await listen(server, host, this.#options.port ?? portOf(environment.PORT), this.name);
    const address = this.#options.advertise ?? (isAnyAddress(host) ? outwardAddress() : host);
    try {
      this.#registration = await this.#options.registry?.register({
        service: this.name,
        address,
        ports: { http: port },
        ...(this.version === undefined ? {} : { version: this.version }),
      });
    } catch (error) {
      await this.close({ graceMs: 0 });
      throw error;
    }
    return { address, port, url: `http://${address.includes(':') ? `[${address}]` : address}:${port}` };
  }

  /** Calls another service through the mesh, within the trace of the request being served. Errors: `NO_CLIENT`, those of `fetch`. */
  call(service: string, path: string, init?: RequestInit): Promise<Response> {
    const { client } = this.#options;
    if (client === undefined) {
      throw new HeptadError(
        'NO_CLIENT',
        `${this.name} cannot call ${service}: it was made without a client`,
        {
          hint: 'pass `client: new MeshClient({ catalog })` in its options',
        },
      );
    }
    return client.fetch(`http://${service}${path.startsWith('/') ? path : `/${path}`}`, init);
  }

  /**
   * Ends without a failed request: tells the registry, waits until callers have heard, lets requests in flight end (at most
   * `graceMs`, default 10 s), then closes.
   */
  close(options: { graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 10_000);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    this.#draining = true;
    if (this.#registration !== undefined) {
      // A store that is out of reach must not keep us from ending.
      const told = await this.#registration.drain().then(
        () => true,
        () => false,
      );
      if (told && graceMs > 0) await this.#clock.sleep(Math.min(PROPAGATION_MS, graceMs));
    }
    const server = this.#server;
    if (server?.listening) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const deadline = this.#clock.timer(graceMs, () => server.closeAllConnections());
      await closed;
      deadline.cancel();
    }
    await this.#registration?.close();
  }

  async #serve(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(raw.url ?? '/', 'http://service');
    const method = raw.method ?? 'GET';
    if (this.#draining) response.setHeader('connection', 'close');
    // An answer that began before the draining did leaves its connection idle: nobody else would close it.
    response.on('finish', () => {
      if (this.#draining) this.#clock.timer(0, () => this.#server?.closeIdleConnections());
    });
    if (method === 'GET' && url.pathname === '/healthz') return this.#health(response, 200, 'ok');
    if (method === 'GET' && url.pathname === '/readyz') {
      return this.#health(response, this.#draining ? 503 : 200, this.#draining ? 'draining' : 'ready');
    }
    const beganMs = this.#clock.monotonicMs();
    const traced = traceRequest(`${method} ${this.name}`, SpanKind.SERVER, oneOf(raw.headers.traceparent));
    const request = this.#request(raw, response, url, traced);
    try {
      const answer = await this.#inTrace(traced, () => this.#answer(request));
      // Draining may have begun meanwhile: a connection that stays open would hold up the end.
      if (this.#draining && !response.headersSent) response.setHeader('connection', 'close');
      await sendResponse(response, answer);
    } catch (error) {
      // The handler's stream failed, or the answer could not be written: the caller must see that it is cut short.
      this.#options.onError?.(error, request);
      response.destroy();
    }
    this.#report(method, url.pathname, response, traced, this.#clock.monotonicMs() - beganMs);
  }

  async #answer(request: ServiceRequest): Promise<ServiceResponse> {
    try {
      return await this.handle(request);
    } catch (error) {
      const problem = problemOf(error);
      if ((problem.status ?? 500) >= 500) this.#options.onError?.(error, request);
      return problem;
    }
  }

  #inTrace<T>(traced: TracedRequest, work: () => T): T {
    const { span } = traced;
    if (span === undefined) return runInTrace(traced.traceparent, work);
    return context.with(trace.setSpan(context.active(), span), () => runInTrace(traced.traceparent, work));
  }

  #request(raw: IncomingMessage, response: ServerResponse, url: URL, traced: TracedRequest): ServiceRequest {
    const gone = new AbortController();
    response.on('close', () => {
      if (!response.writableFinished) gone.abort(new HeptadError('CALLER_GONE', 'the caller went away'));
    });
    const limit = this.#options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;
    const body = (): Promise<Buffer> => readBody(raw, limit);
    return {
      method: raw.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      params: {},
      headers: raw.headers,
      traceId: traced.traceId,
      requestId: oneOf(raw.headers['x-request-id']),
      signal: gone.signal,
      raw,
      body,
      json: async () => parseJson(await body()),
    };
  }

  #health(response: ServerResponse, status: number, state: string): Promise<void> {
    return sendResponse(response, { status, body: { status: state, service: this.name } });
  }

  #report(
    method: string,
    path: string,
    response: ServerResponse,
    traced: TracedRequest,
    durationMs: number,
  ): void {
    const status = response.headersSent ? response.statusCode : 0;
    const failed = status === 0 || status >= 500;
    this.#metrics.record({
      service: this.name,
      method,
      status,
      durationMs,
      ...(failed ? { errorType: status === 0 ? 'NO_RESPONSE' : String(status) } : {}),
    });
    if (traced.span === undefined) return;
    traced.span.setAttributes({
      'http.request.method': method,
      'url.path': path,
      'http.response.status_code': status,
    });
    if (failed) traced.span.setStatus({ code: SpanStatusCode.ERROR });
    traced.span.end();
  }
}

function oneOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
