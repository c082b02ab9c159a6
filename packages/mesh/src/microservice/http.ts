// Requests and responses as a microservice's handlers see them.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { errorMessage, HeptadError, isHeptadError } from '@heptad/core';

/** A request. */
export interface ServiceRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Values of the route's `:names`. */
  readonly params: Readonly<Record<string, string>>;
  readonly headers: IncomingMessage['headers'];
  readonly traceId: string;
  readonly requestId: string | undefined;
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
  readonly raw: IncomingMessage;
  /** The body, at most `maxBodyBytes`. Errors: `BODY_TOO_LARGE`. */
  body(): Promise<Uint8Array>;
  /** The body as JSON. Errors: `BODY_TOO_LARGE`, `INVALID_JSON`. */
  json(): Promise<unknown>;
}

/** A response. A body that is text is sent as text/plain, bytes and streams as they are, anything else as JSON. */
export interface ServiceResponse {
  /** Default 200, or 204 without a body. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** Answers a request. A thrown HeptadError becomes problem details with a fitting status, any other error a plain 500. */
export type ServiceHandler = (request: ServiceRequest) => ServiceResponse | Promise<ServiceResponse>;

/** Reads a body within a limit. */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > limit) {
      throw new HeptadError('BODY_TOO_LARGE', `the request's body is over ${limit} bytes`, {
        hint: 'send less, or raise maxBodyBytes',
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Parses JSON. Errors: `INVALID_JSON`. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new HeptadError('INVALID_JSON', `the request's body is not JSON: ${errorMessage(cause)}`, {
      cause,
    });
  }
}

/** Sends a response, waiting for a slow reader of a stream. */
export async function sendResponse(response: ServerResponse, answer: ServiceResponse): Promise<void> {
  const { body } = answer;
  const headers: Record<string, string> = { ...answer.headers };
  const has = (name: string): boolean => Object.keys(headers).some((key) => key.toLowerCase() === name);
  if (isAsyncIterable(body)) {
    response.writeHead(answer.status ?? 200, headers);
    for await (const chunk of body) {
      if (response.destroyed) return;
      if (!response.write(chunk)) await drained(response);
    }
    response.end();
    return;
  }
  const [bytes, type] = encode(body);
  if (type !== undefined && !has('content-type')) headers['content-type'] = type;
  const status = answer.status ?? (bytes === undefined ? 204 : 200);
  if (status !== 204 && status !== 304) headers['content-length'] = String(bytes?.length ?? 0);
  response.writeHead(status, headers);
  response.end(bytes);
}

function encode(body: unknown): [Buffer | undefined, string | undefined] {
  if (body === undefined) return [undefined, undefined];
  if (typeof body === 'string') return [Buffer.from(body), 'text/plain; charset=utf-8'];
  if (body instanceof Uint8Array) {
    return [Buffer.from(body.buffer, body.byteOffset, body.byteLength), 'application/octet-stream'];
  }
  return [Buffer.from(JSON.stringify(body)), 'application/json'];
}

function isAsyncIterable(value: unknown): value is AsyncIterable<Uint8Array | string> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

/** Statuses of codes that say what is wrong with a request; `details.status` of an error overrides. */
const STATUS_OF: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_JSON: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  POLICY_DENIED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  NAME_IN_USE: 409,
  REVISION_CONFLICT: 409,
  PRECONDITION_FAILED: 412,
  BODY_TOO_LARGE: 413,
};

/** An error as problem details (RFC 9457). What is not a HeptadError is not told to callers. */
export function problemOf(error: unknown): ServiceResponse {
  const known = isHeptadError(error);
  const given = known ? error.details.status : undefined;
  const fallback = known && error.retryable ? 503 : 500;
  const status = typeof given === 'number' ? given : known ? (STATUS_OF[error.code] ?? fallback) : 500;
  const problem = {
    status,
    code: known ? error.code : 'INTERNAL',
    title: known ? error.code : 'INTERNAL',
    detail: known ? error.message : 'the service failed; its log says why',
    ...(known && error.hint !== undefined ? { hint: error.hint } : {}),
  };
  return { status, headers: { 'content-type': 'application/problem+json' }, body: problem };
}
