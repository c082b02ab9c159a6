// The HTTP face of a storage node: authentication, limits and routes; every answer is JSON or an object's bytes.

import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorMessage, isHeptadError } from '@heptad/core';
import { StorageError, type StorageErrorCode } from '../errors.ts';
import { MAX_JSON_BYTES, MAX_NODE_BUFFER_BYTES } from '../limits.ts';

/** A request a route gets. */
export interface NodeRequest {
  readonly method: string;
  /** Path segments, decoded. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** The body, at most `limit` bytes. */
  body(limit: number): Promise<Buffer>;
  /** The body as JSON. */
  json(): Promise<unknown>;
}

/** What a route answers. */
export interface NodeResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly json?: unknown;
}

/** Answers a request, or throws a `StorageError`. `undefined`: there is no such route. */
export type NodeRoutes = (request: NodeRequest) => Promise<NodeResponse | undefined>;

/** HTTP header section: a version header of the longest key and metadata, in base64, fits well. */
const MAX_HEADER_BYTES = 32 * 1024;
/** A client that sends slower than this for a whole request is cut off; it frees the memory of its body. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Sockets one node keeps open. */
const MAX_CONNECTIONS = 1024;

const STATUS: Partial<Record<StorageErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  INVALID_ARGUMENT: 400,
  CHECKSUM_MISMATCH: 400,
  OBJECT_TOO_LARGE: 413,
  STALE_LAYOUT: 409,
  NODE_BEHIND: 409,
  LAYOUT_CONFLICT: 409,
  CLOCK_SKEW: 409,
  DATA_CORRUPT: 422,
  BUSY: 503,
  STORE_CLOSED: 503,
  INSUFFICIENT_SPACE: 507,
};

/** Makes the server; `routes` sees authenticated requests only. `GET /healthz` needs no token. */
export function createNodeServer(token: string, routes: NodeRoutes): Server {
  const expected = createHash('sha256').update(`Bearer ${token}`).digest();
  const buffers = { bytes: 0 };
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: 30_000 },
    (incoming, outgoing) => {
      answer(incoming, outgoing, () => server.listening, expected, routes, buffers).catch(
        (error: unknown) => {
          // Only a broken connection can get here; the client sees it too.
          outgoing.destroy(error instanceof Error ? error : undefined);
        },
      );
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  listening: () => boolean,
  expected: Buffer,
  routes: NodeRoutes,
  buffers: { bytes: number },
): Promise<void> {
  const held = { bytes: 0 };
  let response: NodeResponse;
  try {
    response = await respond(incoming, expected, routes, buffers, held);
  } catch (error) {
    response = problem(error);
  } finally {
    buffers.bytes -= held.bytes;
  }
  const body = response.body ?? Buffer.from(response.json === undefined ? '' : JSON.stringify(response.json));
  const type = response.body === undefined ? 'application/json' : 'application/octet-stream';
  // A body that was not read to its end would be taken for the next request; and a node that is closing never would be
  // done while a busy client keeps its connection.
  const close = incoming.complete && listening() ? {} : { connection: 'close' };
  outgoing.writeHead(response.status, {
    'content-type': type,
    'content-length': body.length,
    ...close,
    ...response.headers,
  });
  outgoing.end(body);
}

async function respond(
  incoming: IncomingMessage,
  expected: Buffer,
  routes: NodeRoutes,
  buffers: { bytes: number },
  held: { bytes: number },
): Promise<NodeResponse> {
  const url = new URL(incoming.url ?? '/', 'http://node');
  if (incoming.method === 'GET' && url.pathname === '/healthz')
    return { status: 200, json: { status: 'ok' } };
  authenticate(incoming, expected);
  const body = (limit: number): Promise<Buffer> => readBody(incoming, limit, buffers, held);
  const request: NodeRequest = {
    method: incoming.method ?? 'GET',
    path: url.pathname.split('/').slice(1).map(decodeSegment),
    query: url.searchParams,
    headers: incoming.headers,
    body,
    json: async () => JSON.parse((await body(MAX_JSON_BYTES)).toString('utf8')),
  };
  const response = await routes(request);
  return (
    response ?? { status: 404, json: { code: 'NO_ROUTE', message: `no ${request.method} ${url.pathname}` } }
  );
}

function authenticate(incoming: IncomingMessage, expected: Buffer): void {
  // Both sides are hashed first: the comparison then takes the same time whatever was sent, of whatever length.
  const given = createHash('sha256')
    .update(incoming.headers.authorization ?? '')
    .digest();
  if (timingSafeEqual(given, expected)) return;
  throw new StorageError(
    'UNAUTHENTICATED',
    'cannot use this storage node: the bearer token is missing or wrong',
    {
      hint: 'give the client the same token as the storage nodes',
    },
  );
}

async function readBody(
  incoming: IncomingMessage,
  limit: number,
  buffers: { bytes: number },
  held: { bytes: number },
): Promise<Buffer> {
  const declared = Number(incoming.headers['content-length'] ?? 0);
  if (declared > limit) throw tooLarge(declared, limit);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    const part: Buffer = chunk;
    bytes += part.length;
    if (bytes > limit) throw tooLarge(bytes, limit);
    if (buffers.bytes + part.length > MAX_NODE_BUFFER_BYTES) {
      throw new StorageError('BUSY', 'this node holds as many bodies in memory as it may', {
        retryable: true,
      });
    }
    buffers.bytes += part.length;
    held.bytes += part.length;
    chunks.push(part);
  }
  return Buffer.concat(chunks, bytes);
}

function tooLarge(bytes: number, limit: number): StorageError {
  return new StorageError('OBJECT_TOO_LARGE', `a body of ${bytes} bytes is larger than ${limit}`, {
    details: { limitBytes: limit },
  });
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new StorageError('INVALID_ARGUMENT', `"${segment}" is not percent-encoded text`, { cause });
  }
}

function problem(error: unknown): NodeResponse {
  if (error instanceof StorageError) {
    return { status: STATUS[error.code] ?? 500, json: error.toJSON() };
  }
  if (isHeptadError(error)) return { status: 500, json: error.toJSON() };
  if (error instanceof SyntaxError || (error instanceof Error && error.name === 'ZodError')) {
    return { status: 400, json: { code: 'INVALID_ARGUMENT', message: errorMessage(error) } };
  }
  return { status: 500, json: { code: 'NODE_FAILED', message: errorMessage(error) } };
}
