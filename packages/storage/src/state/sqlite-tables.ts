// The tables of the state file as operations: reads, and the changes of one open SQLite transaction.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import {
  compareHolds,
  type Key,
  type KeyValue,
  leaseNotFoundError,
  type Op,
  type OpResult,
  type RangeQuery,
  type Revision,
  type Txn,
  type TxnResult,
  validateReadRevision,
  type WatchEvent,
} from '@heptad/core';
import { checksum, keyBytes, prefixEnd, toKeyValue, type VersionRow, versionRow } from './sqlite-rows.ts';

const COLUMNS = 'key, rev, create_rev, version, lease, value, sum';
/** SQLite's word for "no limit". */
const UNLIMITED = -1;

/** Bounds of a range as bytes: `[from, to)`. */
function boundsOf(range: Pick<RangeQuery, 'key' | 'end' | 'prefix'>): [Uint8Array, Uint8Array] {
  const from = keyBytes(range.key);
  if (range.prefix === true) return [from, prefixEnd(from)];
  if (range.end !== undefined) return [from, keyBytes(range.end)];
  // The next possible key: the same with a zero byte.
  return [from, Uint8Array.from([...from, 0])];
}

/**
 * All access to the tables. Synchronous; the caller opens and commits the SQLite transaction around changes. `revision`
 * is the one of what is committed or about to be.
 */
export class StateTables {
  readonly #path: string;
  readonly #range: StatementSync;
  readonly #rangeAt: StatementSync;
  readonly #byLease: StatementSync;
  readonly #putKv: StatementSync;
  readonly #deleteKv: StatementSync;
  readonly #addEvent: StatementSync;
  readonly #events: StatementSync;
  readonly #versionBefore: StatementSync;
  readonly #lease: StatementSync;
  revision: Revision;
  compactRevision: Revision;

  constructor(path: string, db: DatabaseSync, revision: Revision, compactRevision: Revision) {
    this.#path = path;
    this.revision = revision;
    this.compactRevision = compactRevision;
    this.#range = db.prepare(`SELECT ${COLUMNS} FROM kv WHERE key >= ? AND key < ? ORDER BY key LIMIT ?`);
    this.#rangeAt = db.prepare(
      `SELECT ${COLUMNS} FROM event JOIN (
         SELECT key AS k, max(rev) AS r FROM event WHERE key >= ? AND key < ? AND rev <= ? GROUP BY key
       ) ON key = k AND rev = r WHERE value IS NOT NULL ORDER BY key LIMIT ?`,
    );
    this.#byLease = db.prepare(`SELECT ${COLUMNS} FROM kv WHERE lease = ? ORDER BY key`);
    this.#putKv = db.prepare(`INSERT OR REPLACE INTO kv(${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)`);
    this.#deleteKv = db.prepare('DELETE FROM kv WHERE key = ?');
    this.#addEvent = db.prepare(`INSERT INTO event(sub, ${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#events = db.prepare(
      `SELECT ${COLUMNS} FROM event WHERE rev >= ? AND rev <= ? ORDER BY rev, sub LIMIT ?`,
    );
    this.#versionBefore = db.prepare(
      `SELECT ${COLUMNS} FROM event WHERE key = ? AND rev < ? ORDER BY rev DESC LIMIT 1`,
    );
    this.#lease = db.prepare('SELECT 1 FROM lease WHERE id = ?');
  }

  /** The range as of now (changes of the open transaction included) or of an earlier revision. */
  range(query: RangeQuery): { kvs: KeyValue[]; more: boolean } {
    const [from, to] = boundsOf(query);
    const limit = query.limit === undefined ? UNLIMITED : query.limit + 1;
    const rows =
      query.revision === undefined
        ? this.#range.all(from, to, limit)
        : this.#rangeAt.all(from, to, query.revision, limit);
    const more = query.limit !== undefined && rows.length > query.limit;
    if (more) rows.pop();
    const kvs = rows.flatMap((row) => toKeyValue(versionRow(this.#path, row)) ?? []);
    return { kvs, more };
  }

  latest(key: Key): KeyValue | undefined {
    return this.range({ key }).kvs[0];
  }

  /** Carries out a validated transaction and answers with its events. Changes nothing when it throws. */
  transact(txn: Txn): { result: TxnResult; events: WatchEvent[] } {
    const succeeded = txn.compare.every((compare) => compareHolds(compare, this.latest(compare.key)));
    const branch = succeeded ? txn.success : (txn.failure ?? []);
    // Everything that can be refused is tested before the first change; that is what makes it atomic.
    for (const op of branch) this.#admit(op);
    const events: WatchEvent[] = [];
    const results = branch.map((op) => this.#apply(op, events));
    if (events.length > 0) this.revision += 1;
    return { result: { succeeded, revision: this.revision, results }, events };
  }

  /** Deletes all keys of a lease in a revision of their own. */
  deleteKeysOfLease(leaseId: string): WatchEvent[] {
    const events: WatchEvent[] = [];
    for (const row of this.#byLease.all(leaseId)) {
      const kv = toKeyValue(versionRow(this.#path, row));
      if (kv !== undefined) this.#deleteOne(kv, events);
    }
    if (events.length > 0) this.revision += 1;
    return events;
  }

  /** The events of revisions `from` to `to`, at most about `limit` of them, whole revisions only, as arrays. */
  eventsBetween(from: Revision, to: Revision, limit: number): WatchEvent[][] {
    const rows = this.#events.all(from, to, limit).map((row) => versionRow(this.#path, row));
    const last = rows.at(-1)?.revision;
    if (rows.length === limit && last !== undefined) {
      // The last revision may be cut: read it whole.
      while (rows.at(-1)?.revision === last) rows.pop();
      const rest = this.#events.all(last, last, UNLIMITED);
      rows.push(...rest.map((row) => versionRow(this.#path, row)));
    }
    const batches: WatchEvent[][] = [];
    let revision = 0;
    for (const row of rows) {
      if (row.revision !== revision) batches.push([]);
      revision = row.revision;
      batches.at(-1)?.push(this.#toEvent(row));
    }
    return batches;
  }

  #toEvent(row: VersionRow): WatchEvent {
    const before = this.#versionBefore.get(row.key, row.revision);
    const previous = before === undefined ? undefined : toKeyValue(versionRow(this.#path, before));
    const kv = toKeyValue(row);
    const { revision } = row;
    const context = previous === undefined ? { revision } : { revision, previous };
    if (kv !== undefined) return { type: 'put', kv, ...context };
    return { type: 'delete', key: Buffer.from(row.key).toString('utf8'), ...context };
  }

  #admit(op: Op): void {
    if (op.op === 'put' && op.leaseId !== undefined && this.#lease.get(op.leaseId) === undefined) {
      throw leaseNotFoundError(op.leaseId);
    }
    if (op.op === 'range') validateReadRevision(op.query.revision, this.compactRevision, this.revision);
  }

  #apply(op: Op, events: WatchEvent[]): OpResult {
    if (op.op === 'range') return { op: 'range', ...this.range(op.query) };
    if (op.op === 'delete') {
      const deleted = this.range(op).kvs;
      for (const kv of deleted) this.#deleteOne(kv, events);
      return { op: 'delete', deleted };
    }
    const previous = this.latest(op.key);
    const revision = this.revision + 1;
    const row: VersionRow = {
      key: keyBytes(op.key),
      revision,
      createRevision: previous?.createRevision ?? revision,
      version: (previous?.version ?? 0) + 1,
      leaseId: op.leaseId ?? null,
      value: op.value,
    };
    this.#putKv.run(...columnsOf(row));
    this.#addEvent.run(events.length, ...columnsOf(row));
    const kv = toKeyValue(row);
    if (kv === undefined) throw new TypeError('a put row has a value');
    events.push({ type: 'put', kv, revision, ...(previous === undefined ? {} : { previous }) });
    return previous === undefined ? { op: 'put' } : { op: 'put', previous };
  }

  #deleteOne(previous: KeyValue, events: WatchEvent[]): void {
    const revision = this.revision + 1;
    const key = keyBytes(previous.key);
    this.#deleteKv.run(key);
    const row = { key, revision, createRevision: 0, version: 0, leaseId: null, value: null };
    this.#addEvent.run(events.length, ...columnsOf(row));
    events.push({ type: 'delete', key: previous.key, previous, revision });
  }
}

function columnsOf(
  row: VersionRow,
): [Uint8Array, number, number, number, string | null, string | null, number] {
  const { key, revision, createRevision, version, leaseId, value } = row;
  return [key, revision, createRevision, version, leaseId, value, checksum(row)];
}
