// The rules of the StateStore contract that need no state: shapes, limits, compares. Every engine uses these.

import {
  type Compare,
  type Key,
  type KeyValue,
  type Op,
  type RangeQuery,
  type Revision,
  STATE_STORE_LIMITS,
  type StateStoreErrorCode,
  type Txn,
  type WatchQuery,
} from '../contracts/state-store.ts';
import { HeptadError, type HeptadErrorOptions, invalidArgument } from '../errors.ts';
import { inKeyRange } from './keys.ts';

/** A {@link HeptadError} with one of the contract's codes. */
export function stateStoreError(
  code: StateStoreErrorCode,
  message: string,
  options?: HeptadErrorOptions,
): HeptadError<StateStoreErrorCode> {
  return new HeptadError(code, message, options);
}

/** `COMPACTED`, with the oldest revision that can still be read. */
export function compactedError(asked: Revision, compactRevision: Revision): HeptadError<StateStoreErrorCode> {
  return stateStoreError(
    'COMPACTED',
    `revision ${asked} has been compacted away; the oldest readable one is ${compactRevision}`,
    {
      hint: 'read the present state with range, then watch from its revision + 1',
      details: { revision: asked, compactRevision },
    },
  );
}

/** `FUTURE_REVISION`, with the revision the store is at. */
export function futureRevisionError(asked: Revision, revision: Revision): HeptadError<StateStoreErrorCode> {
  return stateStoreError(
    'FUTURE_REVISION',
    `revision ${asked} does not exist yet; the store is at ${revision}`,
    {
      details: { asked, revision },
    },
  );
}

/** `LEASE_NOT_FOUND`. */
export function leaseNotFoundError(id: string): HeptadError<StateStoreErrorCode> {
  return stateStoreError('LEASE_NOT_FOUND', `lease ${id} does not exist: it expired or was revoked`, {
    hint: 'take a new lease and write its keys again',
    details: { leaseId: id },
  });
}

/** `STORE_CLOSED`. */
export function storeClosedError(): HeptadError<StateStoreErrorCode> {
  return stateStoreError('STORE_CLOSED', 'the state store is closed');
}

function requireKey(key: Key, allowEmpty: boolean): void {
  if (typeof key !== 'string' || (key === '' && !allowEmpty)) {
    throw invalidArgument('a key must be text of 1 to 4096 bytes; this one is empty');
  }
  if (!key.isWellFormed()) {
    throw invalidArgument(
      `key ${JSON.stringify(key.slice(0, 64))} is not valid Unicode text (a lone surrogate)`,
    );
  }
  const bytes = Buffer.byteLength(key);
  if (bytes > STATE_STORE_LIMITS.keyBytes) {
    throw stateStoreError(
      'REQUEST_TOO_LARGE',
      `a key of ${bytes} bytes (it begins ${JSON.stringify(key.slice(0, 40))}) is over the limit of ${STATE_STORE_LIMITS.keyBytes}`,
      { details: { bytes, limit: STATE_STORE_LIMITS.keyBytes } },
    );
  }
}

function requireRange(range: Pick<RangeQuery, 'key' | 'end' | 'prefix'>): void {
  requireKey(range.key, range.prefix === true);
  if (range.end !== undefined) {
    if (range.prefix === true) throw invalidArgument('a range has either `prefix` or `end`, not both');
    requireKey(range.end, false);
  }
}

function requireRevision(revision: Revision, what: string, least: number): void {
  if (!Number.isSafeInteger(revision) || revision < least) {
    throw invalidArgument(`${what} must be a whole number from ${least}; it is ${revision}`);
  }
}

/** Rejects a malformed query: `INVALID_ARGUMENT`, `REQUEST_TOO_LARGE`. */
export function validateRangeQuery(query: RangeQuery): void {
  requireRange(query);
  if (query.revision !== undefined) requireRevision(query.revision, 'the revision to read at', 0);
  if (query.limit !== undefined && (!Number.isSafeInteger(query.limit) || query.limit < 1)) {
    throw invalidArgument(`limit must be a whole number from 1; it is ${query.limit}`);
  }
}

/** Rejects a malformed watch: `INVALID_ARGUMENT`, `REQUEST_TOO_LARGE`. */
export function validateWatchQuery(query: WatchQuery): void {
  requireKey(query.prefix, true);
  if (query.fromRevision !== undefined) {
    requireRevision(query.fromRevision, 'the revision to watch from', 1);
  }
}

/** Rejects a revision that cannot be compacted to: `INVALID_ARGUMENT`, `COMPACTED`, `FUTURE_REVISION`. */
export function validateCompaction(target: Revision, compactRevision: Revision, revision: Revision): void {
  requireRevision(target, 'the revision to compact to', 0);
  if (target > revision) throw futureRevisionError(target, revision);
  if (target <= compactRevision) throw compactedError(target, compactRevision);
}

/** Rejects a revision that cannot be read: `COMPACTED`, `FUTURE_REVISION`. */
export function validateReadRevision(
  asked: Revision | undefined,
  compactRevision: Revision,
  revision: Revision,
): void {
  if (asked === undefined) return;
  if (asked > revision) throw futureRevisionError(asked, revision);
  if (asked < compactRevision) throw compactedError(asked, compactRevision);
}

/** Shortest and longest time to live of a lease: shorter ones end between two keep-alives, longer ones are no leases. */
export const LEASE_TTL_LIMITS = { minimumMs: 10, maximumMs: 365 * 86_400_000 } as const;

/** Rejects a time to live outside {@link LEASE_TTL_LIMITS}: `INVALID_ARGUMENT`. */
export function validateLeaseTtl(ttlMs: number): void {
  const { minimumMs, maximumMs } = LEASE_TTL_LIMITS;
  if (!Number.isSafeInteger(ttlMs) || ttlMs < minimumMs || ttlMs > maximumMs) {
    throw invalidArgument(
      `a lease's ttlMs must be a whole number from ${minimumMs} to ${maximumMs}; it is ${ttlMs}`,
    );
  }
}

function opBytes(op: Op): number {
  if (op.op === 'range') return Buffer.byteLength(op.query.key) + Buffer.byteLength(op.query.end ?? '');
  if (op.op === 'delete') return Buffer.byteLength(op.key) + Buffer.byteLength(op.end ?? '');
  return Buffer.byteLength(op.key) + Buffer.byteLength(op.value);
}

function validateOp(op: Op): void {
  if (op.op === 'range') {
    validateRangeQuery(op.query);
    return;
  }
  if (op.op === 'delete') {
    requireRange(op);
    return;
  }
  requireKey(op.key, false);
  if (typeof op.value !== 'string' || !op.value.isWellFormed()) {
    throw invalidArgument(`the value of key ${op.key} is not valid Unicode text`);
  }
}

/** A branch may not say two things of one key: as in etcd, two puts, or a put and a delete that covers it. */
function validateBranch(branch: readonly Op[]): void {
  const puts = new Set<Key>();
  for (const op of branch) {
    validateOp(op);
    if (op.op !== 'put') continue;
    if (puts.has(op.key)) {
      throw stateStoreError('DUPLICATE_KEY', `key ${op.key} is put twice in one transaction`);
    }
    puts.add(op.key);
  }
  for (const op of branch) {
    if (op.op !== 'delete') continue;
    for (const key of puts) {
      if (inKeyRange(key, op)) {
        throw stateStoreError('DUPLICATE_KEY', `key ${key} is both put and deleted in one transaction`);
      }
    }
  }
}

/** A request id is kept for minutes: its length is bounded. */
const MAXIMUM_REQUEST_ID_LENGTH = 256;

/**
 * Rejects a transaction no store may carry out: `INVALID_ARGUMENT`, `REQUEST_TOO_LARGE`, `TOO_MANY_OPERATIONS`,
 * `DUPLICATE_KEY`.
 */
export function validateTxn(txn: Txn): void {
  const failure = txn.failure ?? [];
  const operations = txn.compare.length + Math.max(txn.success.length, failure.length);
  if (operations > STATE_STORE_LIMITS.operations) {
    throw stateStoreError(
      'TOO_MANY_OPERATIONS',
      `a transaction of ${operations} compares and operations is over the limit of ${STATE_STORE_LIMITS.operations}`,
      { hint: 'split it', details: { operations, limit: STATE_STORE_LIMITS.operations } },
    );
  }
  let bytes = 0;
  for (const compare of txn.compare) {
    requireKey(compare.key, false);
    bytes += Buffer.byteLength(compare.key) + Buffer.byteLength(String(compare.than));
  }
  for (const op of txn.success) bytes += opBytes(op);
  for (const op of failure) bytes += opBytes(op);
  if (bytes > STATE_STORE_LIMITS.requestBytes) {
    throw stateStoreError(
      'REQUEST_TOO_LARGE',
      `a transaction of ${bytes} bytes is over the limit of ${STATE_STORE_LIMITS.requestBytes}`,
      { hint: 'split it, or keep large data in object storage', details: { bytes } },
    );
  }
  const id = txn.requestId;
  if (id !== undefined && (id === '' || id.length > MAXIMUM_REQUEST_ID_LENGTH)) {
    throw invalidArgument(`a requestId must have 1 to ${MAXIMUM_REQUEST_ID_LENGTH} characters`);
  }
  validateBranch(txn.success);
  validateBranch(failure);
}

function holds<T extends number | string>(actual: T, is: Compare['is'], than: T, order: number): boolean {
  if (is === '=') return actual === than;
  if (is === '!=') return actual !== than;
  return is === '<' ? order < 0 : order > 0;
}

/**
 * Whether a compare holds for the present state of its key (`undefined`: there is none).
 *
 * As in etcd, a missing key has version and revisions 0 and no lease, and every compare of its *value* is false, `!=`
 * included: it has no value to differ.
 */
export function compareHolds(compare: Compare, kv: KeyValue | undefined): boolean {
  if (compare.target === 'value') {
    if (kv === undefined) return false;
    const order = Buffer.compare(Buffer.from(kv.value), Buffer.from(compare.than));
    return holds(kv.value, compare.is, compare.than, order);
  }
  if (compare.target === 'lease') return holds(kv?.leaseId ?? '', compare.is, compare.than, 0);
  const actual = kv?.[compare.target] ?? 0;
  return holds(actual, compare.is, compare.than, actual - compare.than);
}
