// MemoryStateStore: the contract with nothing beneath it but memory; the model the other engines are held against.

import type {
  Key,
  KeyValue,
  Lease,
  Op,
  OpResult,
  RangeQuery,
  RangeResult,
  Revision,
  Txn,
  TxnResult,
  WatchEvent,
  WatchQuery,
} from '../contracts/state-store.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import { systemClock } from '../ports/node/clock.ts';
import { systemRandom } from '../ports/node/random.ts';
import type { Random } from '../ports/random.ts';
import { type GrantedLease, KeptLease, type LeaseGrantingStore } from './kept-lease.ts';
import { MemoryHistory } from './memory-history.ts';
import { Pulse } from './pulse.ts';
import {
  compactedError,
  compareHolds,
  leaseNotFoundError,
  storeClosedError,
  validateCompaction,
  validateLeaseTtl,
  validateRangeQuery,
  validateReadRevision,
  validateTxn,
  validateWatchQuery,
} from './rules.ts';

/** How long a request id is remembered: the contract's least. */
export const REQUEST_ID_MEMORY_MS = 600_000;
/** Revisions kept before the oldest are compacted away by the store itself, so that a long-lived one stays bounded. */
const KEPT_REVISIONS = 100_000;
/** Compacting in steps of this many spares doing it at every write. */
const COMPACTION_STEP = 10_000;

interface LeaseState extends GrantedLease {
  aliveUntilMs: number;
  timer: Timer;
  readonly keys: Set<Key>;
}

/**
 * A {@link StateStore} in this process's memory: for tests, for simulations and as the model of the contract.
 *
 * Keeps the last 100,000 revisions. All its time comes from `clock`.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 *
 * await using store = new MemoryStateStore();
 * await store.txn({ compare: [], success: [{ op: 'put', key: '/greeting', value: 'hello' }] });
 * console.log((await store.range({ key: '/greeting' })).kvs[0]?.value); // hello
 * ```
 */
export class MemoryStateStore implements LeaseGrantingStore {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #history = new MemoryHistory();
  readonly #leases = new Map<string, LeaseState>();
  readonly #kept = new Set<KeptLease>();
  readonly #answers = new Map<string, { result: TxnResult; atMs: number }>();
  readonly #changed = new Pulse();
  #closed = false;

  constructor(options: { clock?: Clock; random?: Random } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    this.#requireOpen();
    validateRangeQuery(query);
    const { revision, compactRevision } = this.#history;
    validateReadRevision(query.revision, compactRevision, revision);
    return { ...this.#history.range(query), revision };
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#requireOpen();
    validateTxn(txn);
    const known = txn.requestId === undefined ? undefined : this.#recall(txn.requestId);
    if (known !== undefined) return known;
    const succeeded = txn.compare.every((compare) =>
      compareHolds(compare, this.#history.latest(compare.key)),
    );
    const branch = succeeded ? txn.success : (txn.failure ?? []);
    // Everything that can fail is tested before anything changes: that is what makes it atomic.
    for (const op of branch) this.#admit(op);
    const events: WatchEvent[] = [];
    const results = branch.map((op) => this.#apply(op, events));
    this.#commit(events);
    const result: TxnResult = { succeeded, revision: this.#history.revision, results };
    if (txn.requestId !== undefined) {
      this.#answers.set(txn.requestId, { result, atMs: this.#clock.monotonicMs() });
    }
    return result;
  }

  watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    // "After now" means after this call, not after the first look at the iterator.
    return this.#watch(query, query.fromRevision ?? this.#history.revision + 1);
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    const grantedAtMs = this.#clock.monotonicMs();
    const { id, ttlMs } = await this.grantLease(options);
    const lease = new KeptLease({
      id,
      ttlMs,
      grantedAtMs,
      clock: this.#clock,
      keepAlive: async () => {
        await this.keepAlive(id);
      },
      revoke: async () => {
        this.#kept.delete(lease);
        await this.revokeLease(id);
      },
    });
    this.#kept.add(lease);
    lease.lost.addEventListener('abort', () => this.#kept.delete(lease), { once: true });
    return lease;
  }

  async compact(revision: Revision): Promise<void> {
    this.#requireOpen();
    validateCompaction(revision, this.#history.compactRevision, this.#history.revision);
    this.#history.compact(revision);
    // A watcher that stood before it must learn so.
    this.#changed.notify();
  }

  async grantLease(options: { ttlMs: number }): Promise<GrantedLease> {
    this.#requireOpen();
    validateLeaseTtl(options.ttlMs);
    const id = this.#random.uuid(this.#clock.now());
    const { ttlMs } = options;
    this.#leases.set(id, {
      id,
      ttlMs,
      aliveUntilMs: this.#clock.monotonicMs() + ttlMs,
      timer: this.#armExpiry(id, ttlMs),
      keys: new Set(),
    });
    return { id, ttlMs };
  }

  async keepAlive(leaseId: string): Promise<GrantedLease> {
    this.#requireOpen();
    const lease = this.#requireLease(leaseId);
    lease.aliveUntilMs = this.#clock.monotonicMs() + lease.ttlMs;
    return { id: lease.id, ttlMs: lease.ttlMs };
  }

  async revokeLease(leaseId: string): Promise<void> {
    this.#requireOpen();
    this.#endLease(this.#requireLease(leaseId));
  }

  /** Closes it: leases of this process are lost, watches end with `STORE_CLOSED`, everything is forgotten. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const lease of [...this.#kept]) lease.abandon('the state store was closed');
    for (const lease of this.#leases.values()) lease.timer.cancel();
    this.#changed.notify();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (this.#closed) throw storeClosedError();
  }

  #requireLease(id: string): LeaseState {
    const lease = this.#leases.get(id);
    // A timer can be late; the lease is over at its time all the same, and its timer will say so to its keys.
    if (lease === undefined || this.#clock.monotonicMs() >= lease.aliveUntilMs) throw leaseNotFoundError(id);
    return lease;
  }

  #armExpiry(id: string, ms: number): Timer {
    return this.#clock.timer(
      ms,
      () => {
        const lease = this.#leases.get(id);
        if (lease === undefined || this.#closed) return;
        const left = lease.aliveUntilMs - this.#clock.monotonicMs();
        if (left > 0) lease.timer = this.#armExpiry(id, left);
        else this.#endLease(lease);
      },
      { unref: true },
    );
  }

  #endLease(lease: LeaseState): void {
    lease.timer.cancel();
    const events: WatchEvent[] = [];
    for (const key of [...lease.keys]) this.#delete({ key }, events);
    this.#leases.delete(lease.id);
    this.#commit(events);
  }

  #recall(requestId: string): TxnResult | undefined {
    const oldest = this.#clock.monotonicMs() - REQUEST_ID_MEMORY_MS;
    // A Map keeps insertion order, so the old ones are at the front.
    for (const [id, answer] of this.#answers) {
      if (answer.atMs >= oldest) break;
      this.#answers.delete(id);
    }
    return this.#answers.get(requestId)?.result;
  }

  #admit(op: Op): void {
    if (op.op === 'put' && op.leaseId !== undefined) this.#requireLease(op.leaseId);
    if (op.op === 'range') {
      validateReadRevision(op.query.revision, this.#history.compactRevision, this.#history.revision);
    }
  }

  #apply(op: Op, events: WatchEvent[]): OpResult {
    if (op.op === 'range') return { op: 'range', ...this.#history.range(op.query) };
    if (op.op === 'delete') return { op: 'delete', deleted: this.#delete(op, events) };
    const previous = this.#history.latest(op.key);
    const revision = this.#history.revision + 1;
    const kv: KeyValue = {
      key: op.key,
      value: op.value,
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0) + 1,
      ...(op.leaseId === undefined ? {} : { leaseId: op.leaseId }),
    };
    if (previous?.leaseId !== undefined) this.#leases.get(previous.leaseId)?.keys.delete(op.key);
    if (op.leaseId !== undefined) this.#leases.get(op.leaseId)?.keys.add(op.key);
    this.#history.set(op.key, revision, kv);
    events.push({ type: 'put', kv, revision, ...(previous === undefined ? {} : { previous }) });
    return previous === undefined ? { op: 'put' } : { op: 'put', previous };
  }

  #delete(range: { key: Key; end?: Key; prefix?: boolean }, events: WatchEvent[]): KeyValue[] {
    const deleted = this.#history.range(range).kvs;
    const revision = this.#history.revision + 1;
    for (const previous of deleted) {
      if (previous.leaseId !== undefined) this.#leases.get(previous.leaseId)?.keys.delete(previous.key);
      this.#history.set(previous.key, revision, undefined);
      events.push({ type: 'delete', key: previous.key, previous, revision });
    }
    return deleted;
  }

  #commit(events: readonly WatchEvent[]): void {
    if (events.length === 0) return;
    this.#history.commit(events);
    const kept = this.#history.revision - this.#history.compactRevision;
    if (kept >= KEPT_REVISIONS + COMPACTION_STEP) {
      this.#history.compact(this.#history.revision - KEPT_REVISIONS);
    }
    this.#changed.notify();
  }

  async *#watch(query: WatchQuery, fromRevision: Revision): AsyncGenerator<readonly WatchEvent[]> {
    validateWatchQuery(query);
    let next = fromRevision;
    // The watcher pulls from the history instead of being pushed to: a slow one costs no memory, and one that falls
    // behind the compaction is told so instead of missing events.
    while (query.signal?.aborted !== true) {
      this.#requireOpen();
      if (next < this.#history.compactRevision) throw compactedError(next, this.#history.compactRevision);
      if (next > this.#history.revision) {
        await this.#changed.wait(query.signal);
        continue;
      }
      const events = this.#history
        .eventsAt(next)
        .filter((event) => (event.type === 'put' ? event.kv.key : event.key).startsWith(query.prefix));
      next += 1;
      if (events.length > 0) yield events;
    }
  }
}
