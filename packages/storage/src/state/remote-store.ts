// RemoteStateStore: the StateStore contract over HTTP, honest about what it cannot know.

import {
  Backoff,
  type Clock,
  type GrantedLease,
  HeptadError,
  isHeptadError,
  KeptLease,
  type Lease,
  type LeaseGrantingStore,
  type Random,
  type RangeQuery,
  type RangeResult,
  type Revision,
  storeClosedError,
  systemClock,
  systemRandom,
  type Txn,
  type TxnResult,
  validateLeaseTtl,
  validateRangeQuery,
  validateTxn,
  validateWatchQuery,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import type { Dispatcher } from 'undici';
import { mayPass, StateTransport, TransportFailure } from './remote-transport.ts';
import { RemoteWatch } from './remote-watch.ts';
import { type Parse, parseAnswer } from './wire.ts';

/** How long an operation goes on trying before it gives up. Far below the server's memory of requestIds (10 min). */
const DEFAULT_TIMEOUT_MS = 10_000;
/** One try's share, so that a dead connection leaves time for another. */
const TRY_SHARE = 0.4;
/** First and longest wait between tries. */
const RETRY_WAIT = { firstMs: 20, longestMs: 1_000 };

/** Where the store is and how patient to be. */
export interface RemoteStateStoreOptions {
  /** Base of the state API, such as `http://127.0.0.1:7070/api/v1/state`. */
  readonly url: string;
  /** Bearer token, or a function that gives the present one. */
  readonly token?: string | (() => string | Promise<string>);
  /** How long an operation goes on trying, reconnecting included. Default 10 s; at most 5 min. */
  readonly timeoutMs?: number;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
  /** Default {@link systemRandom}. */
  readonly random?: Random;
  /** undici dispatcher, for TLS identities and proxies. Default: an agent of its own. */
  readonly dispatcher?: Dispatcher;
}

/** Half of the time the server remembers a requestId: a repetition must never meet a server that forgot. */
const MAXIMUM_TIMEOUT_MS = 300_000;

/** Whether repeating it cannot do it twice. */
type Repeatable = 'safe' | 'by-request-id';

/**
 * A state store served by `serveStateStore` elsewhere.
 *
 * Every operation ends in one of three ways: it resolves (done), it rejects with the server's refusal or `UNAVAILABLE`
 * (certainly not done), or with `UNKNOWN_OUTCOME`. A transaction that writes always carries a requestId, its caller's or
 * one of ours; when its answer is lost it is sent again under the same id, so that the server answers the first one's
 * result instead of doing it twice. Only when no answer comes within `timeoutMs` is the outcome unknown.
 *
 * Watches reconnect by themselves and resume after the last revision seen. Leases are kept alive from here; `lost`
 * aborts by our own monotonic clock, measured from when the last successful keep-alive was sent.
 */
export class RemoteStateStore implements LeaseGrantingStore {
  readonly #transport: StateTransport;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #timeoutMs: number;
  readonly #url: string;
  readonly #closed = new AbortController();
  readonly #kept = new Set<KeptLease>();

  constructor(options: RemoteStateStoreOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#timeoutMs = Math.min(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, MAXIMUM_TIMEOUT_MS);
    this.#url = options.url.replace(/\/+$/, '');
    this.#transport = new StateTransport({ ...options, url: this.#url, clock: this.#clock });
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    this.#requireOpen();
    validateRangeQuery(query);
    return this.#call('read', '/range', query, parseAnswer.range, 'safe');
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#requireOpen();
    validateTxn(txn);
    const reads = [...txn.success, ...(txn.failure ?? [])].every((op) => op.op === 'range');
    if (reads && txn.requestId === undefined) {
      return this.#call('read', '/txn', txn, parseAnswer.txn, 'safe');
    }
    const requestId = txn.requestId ?? this.#random.uuid(this.#clock.now());
    return this.#call('write', '/txn', { ...txn, requestId }, parseAnswer.txn, 'by-request-id', requestId);
  }

  watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    return this.#watch(query);
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    const grantedAtMs = this.#clock.monotonicMs();
    const { id, ttlMs } = await this.grantLease(options);
    const tryMs = Math.max(1, Math.floor(ttlMs * TRY_SHARE));
    const lease = new KeptLease({
      id,
      ttlMs,
      grantedAtMs,
      clock: this.#clock,
      keepAlive: async () => {
        // One try only: KeptLease asks again in time, and must know when each request was sent.
        try {
          const { signal } = this.#closed;
          await this.#transport.call('/lease/keep-alive', { id }, parseAnswer.granted, tryMs, signal);
        } catch (error) {
          throw error instanceof TransportFailure ? (error.refusal ?? error) : error;
        }
      },
      revoke: () => this.revokeLease(id),
    });
    this.#kept.add(lease);
    lease.lost.addEventListener('abort', () => this.#kept.delete(lease), { once: true });
    return lease;
  }

  async compact(revision: Revision): Promise<void> {
    this.#requireOpen();
    let tries = 0;
    const parse = parseAnswer.nothing;
    try {
      await this.#call('compact', '/compact', { revision }, parse, 'safe', undefined, () => {
        tries += 1;
      });
    } catch (error) {
      // Our own first try, whose answer was lost, may be the one that compacted.
      const ours = tries > 1 && isHeptadError(error, 'COMPACTED');
      if (!ours || error.details.compactRevision !== revision) throw error;
    }
  }

  async grantLease(options: { ttlMs: number }): Promise<GrantedLease> {
    this.#requireOpen();
    validateLeaseTtl(options.ttlMs);
    // A grant whose answer was lost leaves a lease without keys that ends by itself: asking again is safe.
    return this.#call('grant a lease', '/lease/grant', options, parseAnswer.granted, 'safe');
  }

  async keepAlive(leaseId: string): Promise<GrantedLease> {
    this.#requireOpen();
    return this.#call('keep a lease', '/lease/keep-alive', { id: leaseId }, parseAnswer.granted, 'safe');
  }

  async revokeLease(leaseId: string): Promise<void> {
    this.#requireOpen();
    let tries = 0;
    const body = { id: leaseId };
    try {
      await this.#call(
        'revoke a lease',
        '/lease/revoke',
        body,
        parseAnswer.nothing,
        'safe',
        undefined,
        () => {
          tries += 1;
        },
      );
    } catch (error) {
      // Gone after a lost answer is what was asked for.
      if (tries <= 1 || !isHeptadError(error, 'LEASE_NOT_FOUND')) throw error;
    }
  }

  /** Ends watches with `STORE_CLOSED`, gives up leases (they expire at the server) and closes the connections. */
  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(storeClosedError());
    for (const lease of [...this.#kept]) lease.abandon('the state store was closed');
    await this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (this.#closed.signal.aborted) throw storeClosedError();
  }

  async *#watch(query: WatchQuery): AsyncGenerator<readonly WatchEvent[]> {
    validateWatchQuery(query);
    const watch = new RemoteWatch({
      transport: this.#transport,
      clock: this.#clock,
      random: this.#random,
      query,
      closed: this.#closed.signal,
    });
    yield* watch.events();
  }

  /** Tries until it is answered or the time is over. */
  async #call<T>(
    doing: string,
    path: string,
    body: unknown,
    parse: Parse<T>,
    repeatable: Repeatable,
    requestId?: string,
    onTry?: () => void,
  ): Promise<T> {
    const backoff = new Backoff(RETRY_WAIT, this.#random);
    const deadline = this.#clock.monotonicMs() + this.#timeoutMs;
    const tryMs = this.#timeoutMs * TRY_SHARE;
    let unknown = false;
    for (;;) {
      onTry?.();
      const left = deadline - this.#clock.monotonicMs();
      try {
        const limit = Math.max(1, Math.min(tryMs, left));
        return await this.#transport.call(path, body, parse, limit, this.#closed.signal);
      } catch (error) {
        if (!(error instanceof TransportFailure)) throw error;
        // A refusal is about this try alone; an earlier one may have been carried out, and then the server would have
        // answered its result by the requestId. So the refusal holds for all of them.
        if (error.refusal !== undefined && !mayPass(error) && error.outcome === 'failed') throw error.refusal;
        unknown ||= error.outcome === 'unknown';
        const waitMs = backoff.nextMs();
        if (this.#clock.monotonicMs() + waitMs >= deadline) {
          throw this.#givingUp(doing, error, unknown && repeatable === 'by-request-id', requestId);
        }
        await this.#clock.sleep(waitMs, this.#closed.signal);
      }
    }
  }

  #givingUp(doing: string, failure: TransportFailure, unknown: boolean, requestId?: string): HeptadError {
    const why = `cannot ${doing} at ${this.#url}: ${failure.message}`;
    if (!unknown) {
      return new HeptadError('UNAVAILABLE', why, {
        cause: failure,
        retryable: true,
        hint: 'check that the server runs and can be reached',
      });
    }
    return new HeptadError('UNKNOWN_OUTCOME', `${why}; it may or may not have been carried out`, {
      cause: failure,
      hint: 'send the same transaction with the same requestId again within 10 minutes to learn its outcome',
      details: { requestId },
    });
  }
}
