// serveStateStore: a state store over HTTP, as one handler for any Node server.

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type Clock,
  type Decision,
  HeptadError,
  type KeyRange,
  type LeaseGrantingStore,
  type Op,
  type Principal,
  systemClock,
  type Txn,
} from '@heptad/core';
import {
  MAXIMUM_BODY_BYTES,
  parseRequest,
  toProblem,
  WATCH_ALIVE_EVERY_MS,
  type WatchFrame,
  type WatchRequest,
} from './wire.ts';

/** What a request wants to do, for the decision whether it may. */
export interface StateAccess {
  /** `lease`: grant, keep alive, revoke. `compact`: forget history. */
  readonly verb: 'read' | 'write' | 'lease' | 'compact';
  /** Keys it touches; compares count as reads. */
  readonly keys: readonly KeyRange[];
}

/** How {@link serveStateStore} decides and where it is mounted. */
export interface ServeStateStoreOptions {
  /** Asked for each access of each request; one denial denies the whole request. There is no default: decide. */
  readonly authorize: (principal: Principal, access: StateAccess) => Decision | Promise<Decision>;
  /** Path before `/range` and the others. Default `/api/v1/state`. */
  readonly path?: string;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
}

/** Answers one request. Never rejects: every failure is an answer. */
export type StateStoreHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  principal: Principal,
) => Promise<void>;

type Endpoint = (body: unknown, allow: (...accesses: StateAccess[]) => Promise<void>) => Promise<unknown>;

function readsOf(ops: readonly Op[]): KeyRange[] {
  return ops.flatMap((op) => (op.op === 'range' ? [op.query] : []));
}

function writesOf(ops: readonly Op[]): KeyRange[] {
  return ops.flatMap((op) => (op.op === 'range' ? [] : [op]));
}

/** A transaction reads what it compares and ranges over, and writes what either branch may write. */
function accessesOf(txn: Txn): StateAccess[] {
  const ops = [...txn.success, ...(txn.failure ?? [])];
  const reads = [...txn.compare.map(({ key }) => ({ key })), ...readsOf(ops)];
  const writes = writesOf(ops);
  return [
    ...(reads.length > 0 ? [{ verb: 'read' as const, keys: reads }] : []),
    ...(writes.length > 0 ? [{ verb: 'write' as const, keys: writes }] : []),
  ];
}

function endpointsOf(store: LeaseGrantingStore): Readonly<Record<string, Endpoint>> {
  return {
    '/range': async (body, allow) => {
      const query = parseRequest.range(body);
      await allow({ verb: 'read', keys: [query] });
      return store.range(query);
    },
    '/txn': async (body, allow) => {
      const txn = parseRequest.txn(body);
      await allow(...accessesOf(txn));
      return store.txn(txn);
    },
    '/compact': async (body, allow) => {
      const { revision } = parseRequest.compact(body);
      await allow({ verb: 'compact', keys: [] });
      await store.compact(revision);
      return {};
    },
    '/lease/grant': async (body, allow) => {
      const { ttlMs } = parseRequest.grant(body);
      await allow({ verb: 'lease', keys: [] });
      return store.grantLease({ ttlMs });
    },
    '/lease/keep-alive': async (body, allow) => {
      const { id } = parseRequest.lease(body);
      await allow({ verb: 'lease', keys: [] });
      return store.keepAlive(id);
    },
    '/lease/revoke': async (body, allow) => {
      const { id } = parseRequest.lease(body);
      await allow({ verb: 'lease', keys: [] });
      await store.revokeLease(id);
      return {};
    },
  };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    const buffer = Buffer.from(chunk);
    bytes += buffer.length;
    if (bytes > MAXIMUM_BODY_BYTES) {
      throw new HeptadError('REQUEST_TOO_LARGE', `the request is over ${MAXIMUM_BODY_BYTES} bytes`);
    }
    chunks.push(buffer);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new HeptadError('INVALID_ARGUMENT', 'the request is not JSON', { cause });
  }
}

function answer(response: ServerResponse, status: number, type: string, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** Resolves when the socket takes more, or is gone. */
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

/** Streams a watch as lines of JSON until the client leaves or it fails. */
async function streamWatch(
  store: LeaseGrantingStore,
  clock: Clock,
  query: WatchRequest,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const send = (frame: WatchFrame): boolean => response.write(`${JSON.stringify(frame)}\n`);
  // The client must know where its watch began, to resume it there even before the first event.
  const fromRevision = query.fromRevision ?? (await store.range({ key: '/' })).revision + 1;
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  send({ type: 'started', fromRevision });
  const alive = clock.interval(WATCH_ALIVE_EVERY_MS, () => send({ type: 'alive' }), { unref: true });
  try {
    for await (const events of store.watch({ prefix: query.prefix, fromRevision, signal: gone.signal })) {
      // A client that does not read is waited for; the store's history, not our memory, holds what it misses.
      if (!send({ type: 'events', events })) await drained(response);
    }
  } catch (error) {
    send({ type: 'error', error: toProblem(error) });
  } finally {
    alive.cancel();
    response.end();
  }
}

/**
 * Serves a store: POST `/range`, `/txn`, `/compact`, `/lease/grant`, `/lease/keep-alive`, `/lease/revoke` and `/watch`
 * (newline-delimited JSON frames, endless) below `path`. Errors are RFC 9457 problems with our `code`.
 *
 * The caller authenticates and passes the principal; `authorize` decides each access.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import { MemoryStateStore } from '@heptad/core';
 * import { RemoteStateStore, serveStateStore } from '@heptad/storage/state';
 *
 * const store = new MemoryStateStore();
 * const handle = serveStateStore(store, {
 *   authorize: (principal) => ({ allowed: principal.type === 'node', because: ['nodes may'], auditLevel: 'LOW' }),
 * });
 * const node = { id: 'node-1', type: 'node', roles: [] } as const;
 * const server = createServer((request, response) => void handle(request, response, node));
 * await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
 * const address = server.address();
 * const port = typeof address === 'object' && address !== null ? address.port : 0;
 *
 * const remote = new RemoteStateStore({ url: `http://127.0.0.1:${port}/api/v1/state` });
 * await remote.txn({ compare: [], success: [{ op: 'put', key: '/a', value: '1' }] });
 * console.log((await remote.range({ key: '/a' })).kvs[0]?.value); // 1
 *
 * await remote.close();
 * await store.close();
 * server.close();
 * ```
 */
export function serveStateStore(
  store: LeaseGrantingStore,
  options: ServeStateStoreOptions,
): StateStoreHandler {
  const mount = options.path ?? '/api/v1/state';
  const clock = options.clock ?? systemClock;
  const endpoints = endpointsOf(store);
  return async (request, response, principal) => {
    const allow = async (...accesses: StateAccess[]): Promise<void> => {
      for (const access of accesses) {
        const decision = await options.authorize(principal, access);
        if (decision.allowed) continue;
        throw new HeptadError(
          'ACCESS_DENIED',
          `${principal.type} ${principal.id} may not ${access.verb} ${access.keys.map(({ key }) => key).join(', ') || 'here'}`,
          { hint: 'ask an administrator for the right', details: { because: decision.because } },
        );
      }
    };
    try {
      const path = (request.url ?? '').split('?', 1)[0] ?? '';
      const name = path.startsWith(mount) ? path.slice(mount.length) : '';
      const endpoint = endpoints[name];
      if (endpoint === undefined && name !== '/watch') {
        throw new HeptadError('NOT_FOUND', `there is nothing at ${path}`);
      }
      if (request.method !== 'POST') {
        throw new HeptadError('METHOD_NOT_ALLOWED', `${path} takes POST, not ${request.method ?? 'nothing'}`);
      }
      const body = await readBody(request);
      if (endpoint !== undefined) {
        answer(response, 200, 'application/json', await endpoint(body, allow));
        return;
      }
      const query = parseRequest.watch(body);
      await allow({ verb: 'read', keys: [{ key: query.prefix, prefix: true }] });
      await streamWatch(store, clock, query, response);
    } catch (error) {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const problem = toProblem(error);
      answer(response, problem.status, 'application/problem+json', problem);
    }
  };
}
