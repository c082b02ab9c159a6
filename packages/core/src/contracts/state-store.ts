// StateStore: the spine. A small, exact subset of etcd v3's key-value semantics.

/** A key: UTF-8 text, `/`-separated by convention, 1 to 4096 bytes. Ordered by its bytes. */
export type Key = string;

/** The store's logical clock. The first write makes revision 1... an empty store is at revision 0. */
export type Revision = number;

/** A live key. */
export interface KeyValue {
  readonly key: Key;
  /** UTF-8 text, at most {@link STATE_STORE_LIMITS}.requestBytes with the rest of its transaction. */
  readonly value: string;
  /** Revision at which the key was created (after its last deletion). */
  readonly createRevision: Revision;
  /** Revision of its last change. */
  readonly modRevision: Revision;
  /** 1 at creation, plus 1 each change. */
  readonly version: number;
  /** The lease that removes the key when it ends. */
  readonly leaseId?: string;
}

/** Limits every implementation enforces with `REQUEST_TOO_LARGE` / `TOO_MANY_OPERATIONS`, as etcd's defaults. */
export const STATE_STORE_LIMITS = {
  /** 1.5 MiB a transaction: keys and values together. */
  requestBytes: 1_572_864,
  /** Compares plus operations in a branch. */
  operations: 128,
  keyBytes: 4096,
} as const;

/** Which keys to read. Exactly one of: the key alone, `prefix: true`, or `end` (exclusive). */
export interface RangeQuery {
  readonly key: Key;
  /** Exclusive upper end of the range. */
  readonly end?: Key;
  /** All keys that begin with `key`; `key: ''` with `prefix` is the whole store. */
  readonly prefix?: boolean;
  /** Read as of this revision. `COMPACTED` when it is older than the last compaction, `FUTURE_REVISION` when newer than now. */
  readonly revision?: Revision;
  /** At most this many, in key order; `more` says whether there were others. */
  readonly limit?: number;
}

/** What a range read saw: one consistent snapshot. */
export interface RangeResult {
  readonly kvs: readonly KeyValue[];
  /** The store's revision at the time of the read (not the revision asked for). */
  readonly revision: Revision;
  readonly more: boolean;
}

/**
 * One condition of a transaction. A missing key has version, createRevision and modRevision 0, no lease (`''`) and no
 * value: every compare of its value is false, `!=` included, as in etcd. Values compare by their bytes.
 */
export type Compare =
  | {
      readonly key: Key;
      readonly target: 'version' | 'createRevision' | 'modRevision';
      readonly is: '=' | '!=' | '<' | '>';
      readonly than: number;
    }
  | {
      readonly key: Key;
      readonly target: 'value';
      readonly is: '=' | '!=' | '<' | '>';
      readonly than: string;
    }
  | { readonly key: Key; readonly target: 'lease'; readonly is: '=' | '!='; readonly than: string };

/**
 * One operation of a transaction. They run in order: a range sees what came before it in its branch. A key may be put at
 * most once in a branch, and not deleted in the same one (`DUPLICATE_KEY`). A put without `leaseId` takes the key from
 * the lease it had.
 */
export type Op =
  | { readonly op: 'put'; readonly key: Key; readonly value: string; readonly leaseId?: string }
  | { readonly op: 'delete'; readonly key: Key; readonly end?: Key; readonly prefix?: boolean }
  | { readonly op: 'range'; readonly query: RangeQuery };

/** What one operation answered, in the order of the branch's operations. */
export type OpResult =
  | { readonly op: 'put'; readonly previous?: KeyValue }
  | { readonly op: 'delete'; readonly deleted: readonly KeyValue[] }
  | { readonly op: 'range'; readonly kvs: readonly KeyValue[]; readonly more: boolean };

/** All compares are tested on one snapshot; then one branch runs whole. */
export interface Txn {
  readonly compare: readonly Compare[];
  readonly success: readonly Op[];
  readonly failure?: readonly Op[];
  /**
   * Makes the transaction idempotent: a second transaction with the same id within the store's memory of ids
   * (at least 10 minutes) changes nothing and answers the first one's result. For re-checking an unknown outcome.
   */
  readonly requestId?: string;
}

/** The outcome of a transaction that was carried out (whichever branch ran). */
export interface TxnResult {
  /** Whether the compares held, so that `success` ran. */
  readonly succeeded: boolean;
  /**
   * The store's revision after it. A transaction that puts, or deletes at least one existing key, raises the
   * revision by exactly one; all its changes carry that revision. Otherwise the revision stays.
   */
  readonly revision: Revision;
  readonly results: readonly OpResult[];
}

/** One change. */
export type WatchEvent =
  | { readonly type: 'put'; readonly kv: KeyValue; readonly previous?: KeyValue; readonly revision: Revision }
  | { readonly type: 'delete'; readonly key: Key; readonly previous?: KeyValue; readonly revision: Revision };

/** Which changes to see. */
export interface WatchQuery {
  readonly prefix: Key;
  /** First revision to see; default: the first after now. */
  readonly fromRevision?: Revision;
  readonly signal?: AbortSignal;
}

/** A time-limited claim kept alive in the background. Keys put with its id vanish when it ends. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  readonly ttlMs: number;
  /**
   * Aborts as soon as this side can no longer be sure of the lease: by our own monotonic clock, `ttlMs` after the
   * last successful keep-alive was *sent*, or at once when the store says it is gone. Stop acting then.
   */
  readonly lost: AbortSignal;
  /** Ends it now and deletes its keys. */
  revoke(): Promise<void>;
}

/**
 * A strictly serialisable key-value store with history.
 *
 * - `txn` and `range` are strictly serialisable.
 * - `watch` is ordered (by revision, then operation order), unique, atomic (all matching events of a revision in one
 *   array), reliable and resumable from any revision that is not compacted. It is not linearizable: it may lag. It
 *   ends quietly when its signal aborts. `COMPACTED` (details: `compactRevision`) when the start was compacted away.
 * - Deleting a missing key is not a change. A put of the same value is a change.
 * - A lease's expiry deletes its keys in one transaction of its own.
 * - `compact(r)`: history before `r` can no longer be read or watched from; live keys stay. Compacting twice to the same
 *   revision is `COMPACTED`; beyond the current one `FUTURE_REVISION`.
 *
 * Every implementation passes `stateStoreConformance` of `@heptad/core/conformance`.
 *
 * Source of the semantics: etcd v3 API guarantees.
 */
export interface StateStore extends AsyncDisposable {
  range(query: RangeQuery): Promise<RangeResult>;
  txn(txn: Txn): Promise<TxnResult>;
  watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]>;
  lease(options: { ttlMs: number }): Promise<Lease>;
  compact(revision: Revision): Promise<void>;
}

/** Codes a {@link StateStore} rejects with. `UNAVAILABLE` means certainly not done; `UNKNOWN_OUTCOME` may or may not be. */
export type StateStoreErrorCode =
  | 'COMPACTED'
  | 'FUTURE_REVISION'
  | 'REQUEST_TOO_LARGE'
  | 'TOO_MANY_OPERATIONS'
  | 'DUPLICATE_KEY'
  | 'LEASE_NOT_FOUND'
  | 'STORE_CLOSED'
  | 'STORE_CORRUPT'
  | 'UNAVAILABLE'
  | 'UNKNOWN_OUTCOME';

/** How a remote operation can end. */
export type Outcome = 'done' | 'failed' | 'unknown';
