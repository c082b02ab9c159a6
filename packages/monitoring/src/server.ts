// HTTP in front of a stack: OTLP ingest, /metrics, and the query API that Prometheus clients speak.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorMessage, isHeptadError } from '@heptad/core';
import { MonitoringError } from './errors.ts';
import { bodyFormat, MAX_BODY_BYTES } from './ingest/body.ts';
import type { Signal } from './ingest/otlp.ts';
import { partialSuccess } from './ingest/otlp-response.ts';
import { EXPOSITION_CONTENT_TYPE } from './metrics/exposition.ts';
import { type PrometheusAnswer, prometheusApi } from './query/http-api.ts';
import type { MonitoringStack } from './stack.ts';

const OTLP_PATHS: ReadonlyMap<string, Signal> = new Map([
  ['/v1/metrics', 'metrics'],
  ['/v1/logs', 'logs'],
  ['/v1/traces', 'traces'],
]);

/** Where a {@link MonitoringServer} listens. */
export interface MonitoringServerOptions {
  /** Default 127.0.0.1: there is no authentication here; put the platform's API in front for anything else. */
  readonly host?: string;
  /** Default 4318, OTLP's port; 0 takes a free one. */
  readonly port?: number;
}

/**
 * Serves a {@link MonitoringStack} over HTTP: `/v1/{metrics,logs,traces}` takes OTLP, `/metrics` shows Prometheus text,
 * `/api/v1/query`, `query_range`, `series`, `labels` and `label/NAME/values` answer as Prometheus does, so Grafana can use
 * it as a Prometheus data source.
 *
 * @example
 * ```ts
 * import { MonitoringServer, MonitoringStack } from '@heptad/monitoring';
 *
 * await using stack = new MonitoringStack();
 * await using server = await MonitoringServer.listen(stack, { port: 0 });
 * await stack.append('up', { service: 'orders' }, 1);
 * const answer = await fetch(`${server.url}/api/v1/query?query=up`);
 * console.log(await answer.text());
 * ```
 */
export class MonitoringServer implements AsyncDisposable {
  /** `http://host:port`. */
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server, url: string) {
    this.#server = server;
    this.url = url;
  }

  /** Begins to listen. Rejects with the cause when the address is taken. */
  static async listen(
    stack: MonitoringStack,
    options: MonitoringServerOptions = {},
  ): Promise<MonitoringServer> {
    const handle = monitoringHandler(stack);
    const server = createServer((request, response) => void handle(request, response));
    const host = options.host ?? '127.0.0.1';
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port ?? 4318, host, resolve);
    });
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : options.port;
    return new MonitoringServer(server, `http://${host.includes(':') ? `[${host}]` : host}:${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }
}

/** A request handler for Node's `http` server, for mounting beside other routes. It answers every request itself. */
export function monitoringHandler(
  stack: MonitoringStack,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    try {
      await route(stack, request, response);
    } catch (error) {
      if (!response.headersSent) answerError(response, error);
      else response.destroy();
    }
  };
}

async function route(
  stack: MonitoringStack,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const signal = OTLP_PATHS.get(url.pathname);
  if (signal !== undefined) return ingest(stack, signal, request, response);
  if (url.pathname === '/metrics')
    return send(response, 200, EXPOSITION_CONTENT_TYPE, stack.prometheusText());
  if (url.pathname.startsWith('/api/v1/')) {
    const parameters = url.searchParams;
    // Grafana sends long queries in a form body.
    if (request.method === 'POST') {
      for (const [name, value] of new URLSearchParams((await readBody(request)).toString('utf8')))
        parameters.append(name, value);
    }
    const answer: PrometheusAnswer = await prometheusApi(
      stack,
      url.pathname.slice('/api/v1/'.length),
      parameters,
    );
    return send(response, answer.status, 'application/json', JSON.stringify(answer.body));
  }
  send(response, 404, 'text/plain', `there is nothing at ${url.pathname}\n`);
}

async function ingest(
  stack: MonitoringStack,
  signal: Signal,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'POST') {
    response.setHeader('allow', 'POST');
    return send(response, 405, 'text/plain', 'OTLP is sent by POST\n');
  }
  const contentType = request.headers['content-type'] ?? '';
  const format = bodyFormat(contentType);
  const result = await stack.ingestOtlp(
    signal,
    await readBody(request),
    contentType,
    request.headers['content-encoding'],
  );
  const type = format === 'json' ? 'application/json' : 'application/x-protobuf';
  send(response, 200, type, partialSuccess(signal, format, result));
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MAX_BODY_BYTES)
      throw new MonitoringError('PAYLOAD_TOO_LARGE', `the body is over ${MAX_BODY_BYTES} bytes`, {
        hint: 'send smaller batches',
      });
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

const STATUS: Readonly<Record<string, number>> = {
  INVALID_PAYLOAD: 400,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  // OTLP clients repeat after 503 and give up after 500.
  WRITE_FAILED: 503,
  CLOSED: 503,
};

function answerError(response: ServerResponse, error: unknown): void {
  const code = isHeptadError(error) ? error.code : 'INTERNAL';
  const status = STATUS[code] ?? 500;
  if (status === 503) response.setHeader('retry-after', '5');
  // The rest of a body that was too large is not read, so the connection cannot be used again.
  if (status === 413) response.setHeader('connection', 'close');
  send(response, status, 'application/json', JSON.stringify({ code: 0, message: errorMessage(error) }));
}

function send(response: ServerResponse, status: number, type: string, body: string | Uint8Array): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}
