// The store that programs use: reads and writes go to the centre's own store, but only while it is primary, and a
// synchronous write is not acknowledged before enough backups have it.

import {
  type GrantedLease,
  HeptadError,
  invalidArgument,
  type Lease,
  type LeaseGrantingStore,
  type Op,
  type RangeQuery,
  type RangeResult,
  type StateStore,
  type Txn,
  type TxnResult,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import { LOCAL_PREFIX } from '../center/local-state.ts';
import { isReplicated } from './entry.ts';

/** What the store needs to know of the centre. */
export interface PrimaryGate {
  /** Error: `NOT_PRIMARY`. Called before every operation. */
  readonly requirePrimary: () => void;
  /** Error: `NOT_PRIMARY` when another primary may have begun since. Called after a read. */
  readonly requireLease: () => void;
  /**
   * Whether a write must find the lease still held after it is committed. Not with synchronous replication: enough copies have
   * it, whoever is primary now.
   */
  readonly commitNeedsLease: boolean;
  /** Runs a write as primary; `NOT_PRIMARY` when it is not. The end of the reign waits for it. */
  readonly write: <T>(action: () => Promise<T>) => Promise<T>;
  /** Resolves when everything up to the store's revision is committed. */
  readonly committed: (revision: number) => Promise<void>;
}

/**
 * A {@link StateStore} over a centre. Not primary: every operation is `NOT_PRIMARY` with the primary's name in `details`.
 *
 * Linearizable with synchronous replication: a read waits until what it saw is committed, so that nothing is ever read that a
 * failover takes back; and primacy is checked after the read, under a lease that ends before another primary can begin.
 */
export class PrimaryStore implements LeaseGrantingStore {
  readonly #store: StateStore;
  readonly #gate: PrimaryGate;

  constructor(store: StateStore, gate: PrimaryGate) {
    this.#store = store;
    this.#gate = gate;
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    this.#gate.requirePrimary();
    const result = await this.#store.range(query);
    await this.#gate.committed(result.revision);
    this.#gate.requireLease();
    return { ...result, kvs: result.kvs.filter(({ key }) => isReplicated(key)) };
  }

  async txn(txn: Txn): Promise<TxnResult> {
    const ops: readonly Op[] = [...txn.success, ...(txn.failure ?? [])];
    const reserved = ops.find((op) => op.op === 'put' && op.key.startsWith(LOCAL_PREFIX));
    if (reserved !== undefined)
      throw invalidArgument(`cannot write below ${LOCAL_PREFIX}: it is a centre's own memory`);
    if (ops.some((op) => op.op === 'delete' && touchesLocal(op))) {
      throw invalidArgument(`cannot delete below ${LOCAL_PREFIX}: it is a centre's own memory`);
    }
    const result = await this.#gate.write(() => this.#store.txn(txn));
    try {
      await this.#gate.committed(result.revision);
      if (this.#gate.commitNeedsLease) this.#gate.requireLease();
    } catch (cause) {
      throw unknownOutcome(cause);
    }
    return result;
  }

  async *watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    this.#gate.requirePrimary();
    for await (const events of this.#store.watch(query)) {
      const own = events.filter((event) => isReplicated(event.type === 'put' ? event.kv.key : event.key));
      const last = own.at(-1);
      if (last === undefined) continue;
      await this.#gate.committed(last.revision);
      this.#gate.requireLease();
      yield own;
    }
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    this.#gate.requirePrimary();
    return this.#store.lease(options);
  }

  /** `NOT_SUPPORTED` when the centre's own store hands out no leases; so are the two below. */
  async grantLease(options: { ttlMs: number }): Promise<GrantedLease> {
    this.#gate.requirePrimary();
    return this.#granting().grantLease(options);
  }

  async keepAlive(leaseId: string): Promise<GrantedLease> {
    this.#gate.requirePrimary();
    return this.#granting().keepAlive(leaseId);
  }

  async revokeLease(leaseId: string): Promise<void> {
    return this.#gate.write(() => this.#granting().revokeLease(leaseId));
  }

  #granting(): LeaseGrantingStore {
    if (isLeaseGranting(this.#store)) return this.#store;
    throw new HeptadError('NOT_SUPPORTED', 'the store of this centre hands out no leases to remote clients');
  }

  async compact(revision: number): Promise<void> {
    this.#gate.requirePrimary();
    return this.#store.compact(revision);
  }

  /** Leaves the centre's own store open: whoever opened it closes it. */
  async [Symbol.asyncDispose](): Promise<void> {}
}

function isLeaseGranting(store: StateStore): store is LeaseGrantingStore {
  return 'grantLease' in store && 'keepAlive' in store && 'revokeLease' in store;
}

function touchesLocal(op: Extract<Op, { op: 'delete' }>): boolean {
  if (op.prefix) return LOCAL_PREFIX.startsWith(op.key) || op.key.startsWith(LOCAL_PREFIX);
  if (op.end !== undefined) return op.key < `${LOCAL_PREFIX}\u{10ffff}` && op.end > LOCAL_PREFIX;
  return op.key.startsWith(LOCAL_PREFIX);
}

// The write is in the own store; whether it will be in the next primary's, nobody knows.
function unknownOutcome(cause: unknown): HeptadError<'UNKNOWN_OUTCOME'> {
  if (cause instanceof HeptadError && cause.code === 'UNKNOWN_OUTCOME') return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HeptadError('UNKNOWN_OUTCOME', `the write's outcome is unknown: ${why}`, {
    cause,
    hint: 'read the key back before writing it again',
  });
}
