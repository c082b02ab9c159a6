// A state store behind a simulated network: one server process, and clients that lose answers, time out and reconnect.

import {
  type Connection,
  type GrantedLease,
  HeptadError,
  isHeptadError,
  KeptLease,
  type Lease,
  type MemoryStateStore,
  type RangeQuery,
  type RangeResult,
  type StateStore,
  type Txn,
  type TxnResult,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import type { SimProcess } from '@heptad/core/sim';

const ADDRESS = 'server:1';
const REQUEST_TIMEOUT_MS = 1_000;
/** Tries of a transaction under one requestId before its outcome is given up as unknown. */
const TRIES = 3;
const ALIVE_EVERY_MS = 500;
const DEAD_AFTER_MS = 2_000;

interface Frame {
  readonly id: number;
  readonly method?: string;
  readonly argument?: unknown;
  readonly result?: unknown;
  readonly error?: { code: string; message: string; details: Record<string, unknown> };
}

const encode = (frame: Frame): Uint8Array => Buffer.from(JSON.stringify(frame));
const decode = (message: Uint8Array): Frame => JSON.parse(Buffer.from(message).toString()) as Frame;
const toWire = (error: unknown): Frame['error'] =>
  isHeptadError(error)
    ? { code: error.code, message: error.message, details: { ...error.details } }
    : { code: 'INTERNAL', message: String(error), details: {} };

/** Serves the store from a process until that is killed. */
export async function serveSimulated(store: MemoryStateStore, process: SimProcess): Promise<void> {
  const call = async (method: string, argument: never): Promise<unknown> => {
    if (method === 'range') return store.range(argument);
    if (method === 'txn') return store.txn(argument);
    if (method === 'grant') return store.grantLease(argument);
    if (method === 'keepAlive') return store.keepAlive(argument);
    if (method === 'revoke') return store.revokeLease(argument);
    throw new Error(`no method ${method}`);
  };
  const watch = async (connection: Connection, id: number, query: WatchQuery): Promise<void> => {
    const gone = new AbortController();
    const alive = process.clock.interval(ALIVE_EVERY_MS, () => {
      connection.send(encode({ id })).catch(() => gone.abort());
    });
    try {
      for await (const events of store.watch({ ...query, signal: gone.signal })) {
        await connection.send(encode({ id, result: events }));
      }
    } catch (error) {
      await connection.send(
        encode({ id, ...(isHeptadError(error) ? { error: toWire(error) } : {}) } as Frame),
      );
    } finally {
      alive.cancel();
    }
  };
  const serve = async (connection: Connection): Promise<void> => {
    for await (const message of connection.receive()) {
      const { id, method = '', argument } = decode(message);
      if (method === 'watch') {
        watch(connection, id, argument as WatchQuery).catch(() => {});
        continue;
      }
      const answer = await call(method, argument as never).then(
        (result) => ({ id, result }),
        (error: unknown) => ({ id, error: toWire(error) }),
      );
      await connection.send(encode(answer as Frame));
    }
  };
  await process.network.listen(ADDRESS, (connection) => {
    serve(connection).catch(() => {});
  });
}

const unavailable = (why: string): HeptadError => new HeptadError('UNAVAILABLE', why, { retryable: true });

/** A client of {@link serveSimulated} in another process. */
export class SimulatedStore implements StateStore {
  readonly #process: SimProcess;
  #requests = 0;

  constructor(process: SimProcess) {
    this.#process = process;
  }

  range(query: RangeQuery): Promise<RangeResult> {
    return this.#call('range', query);
  }

  async txn(txn: Txn): Promise<TxnResult> {
    const requestId = txn.requestId ?? this.#process.random.uuid(this.#process.clock.now());
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      try {
        return await this.#call<TxnResult>('txn', { ...txn, requestId });
      } catch (error) {
        if (!isHeptadError(error, 'UNAVAILABLE')) throw error;
      }
    }
    throw new HeptadError('UNKNOWN_OUTCOME', 'no answer came');
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    const grantedAtMs = this.#process.clock.monotonicMs();
    const { id, ttlMs } = await this.#call<GrantedLease>('grant', options);
    return new KeptLease({
      id,
      ttlMs,
      grantedAtMs,
      clock: this.#process.clock,
      keepAlive: () => this.#call('keepAlive', id),
      revoke: () => this.#call('revoke', id),
    });
  }

  compact(): Promise<void> {
    return Promise.reject(new HeptadError('NOT_SUPPORTED', 'the simulated server does not compact'));
  }

  async *watch(query: WatchQuery): AsyncGenerator<readonly WatchEvent[]> {
    const { clock, network } = this.#process;
    const { signal, ...asked } = query;
    if (signal?.aborted) return;
    const connection = await network.dial(ADDRESS);
    let heardAtMs = clock.monotonicMs();
    const close = (): void => void connection.close();
    signal?.addEventListener('abort', close, { once: true });
    const watchdog = clock.interval(ALIVE_EVERY_MS, () => {
      if (clock.monotonicMs() - heardAtMs > DEAD_AFTER_MS) close();
    });
    try {
      await connection.send(encode({ id: 1, method: 'watch', argument: asked }));
      for await (const message of connection.receive()) {
        heardAtMs = clock.monotonicMs();
        const { result, error } = decode(message);
        if (error !== undefined) throw new HeptadError(error.code, error.message, { details: error.details });
        if (result !== undefined) yield result as readonly WatchEvent[];
      }
      if (!signal?.aborted) throw unavailable('the watch was cut');
    } finally {
      watchdog.cancel();
      signal?.removeEventListener('abort', close);
      close();
    }
  }

  /** One request on a connection of its own: what is lost is this request, not its neighbours. */
  async #call<T>(method: string, argument: unknown): Promise<T> {
    const { clock, network } = this.#process;
    this.#requests += 1;
    const id = this.#requests;
    const late = new AbortController();
    const timer = clock.timer(REQUEST_TIMEOUT_MS, () => late.abort(unavailable('timed out')));
    let connection: Connection | undefined;
    try {
      connection = await network.dial(ADDRESS, late.signal);
      const open = connection;
      late.signal.addEventListener('abort', () => void open.close(), { once: true });
      await connection.send(encode({ id, method, argument }));
      for await (const message of connection.receive()) {
        const { result, error } = decode(message);
        if (error !== undefined) throw new HeptadError(error.code, error.message, { details: error.details });
        return result as T;
      }
      throw unavailable('no answer');
    } catch (error) {
      if (isHeptadError(error) && !error.code.startsWith('CONNECTION_')) throw error;
      throw unavailable(String(error));
    } finally {
      timer.cancel();
      await connection?.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
