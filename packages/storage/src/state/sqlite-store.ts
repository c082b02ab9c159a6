// SqliteStateStore: the StateStore contract on one durable file.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import {
  type Clock,
  compactedError,
  type GrantedLease,
  type Lease,
  type LeaseGrantingStore,
  Pulse,
  type Random,
  type RangeQuery,
  type RangeResult,
  type Revision,
  storeClosedError,
  systemClock,
  systemRandom,
  type Txn,
  type TxnResult,
  validateCompaction,
  validateRangeQuery,
  validateReadRevision,
  validateTxn,
  validateWatchQuery,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import { CommitQueue } from './commit-queue.ts';
import { RecentEvents } from './recent-events.ts';
import { type BackupProgress, writeBackup } from './sqlite-backup.ts';
import { openStateFile } from './sqlite-file.ts';
import { SqliteLeases } from './sqlite-leases.ts';
import { type HistoryOptions, Maintenance } from './sqlite-maintenance.ts';
import { RequestMemory } from './sqlite-requests.ts';
import { Sweeper } from './sqlite-sweep.ts';
import { StateTables } from './sqlite-tables.ts';

/** Events a watcher reads from the file at once when it is behind the window in memory. */
const CATCH_UP_EVENTS = 512;

/** What a {@link SqliteStateStore} is opened with. */
export interface SqliteStateStoreOptions {
  /** The file; created when there is none. Its directory must exist and be on a local disk. */
  readonly path: string;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
  /** Default {@link systemRandom}. */
  readonly random?: Random;
  /** How much history the store keeps by itself. Default 10 minutes. */
  readonly history?: HistoryOptions;
}

/**
 * A {@link StateStore} in one SQLite file, owned by one process.
 *
 * Durability: write-ahead log with `synchronous=FULL`; nothing is acknowledged, and no watcher sees it, before it is
 * synced. Changes that arrive together share a sync. Reads are strictly serialisable because everything runs on one
 * connection, one after the other, and what is not committed is never in between.
 *
 * Errors beside the contract's, from opening: `STORE_CORRUPT` (names the file and how to restore; nothing is touched),
 * `STORE_IN_USE`, `STORE_FORMAT_UNKNOWN`, `STORE_OPEN_FAILED`.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { SqliteStateStore } from '@heptad/storage/state';
 *
 * const directory = await mkdtemp(join(tmpdir(), 'state-'));
 * await using store = new SqliteStateStore({ path: join(directory, 'state.db') });
 * await store.txn({ compare: [], success: [{ op: 'put', key: '/greeting', value: 'hello' }] });
 * await store.backup(join(directory, 'state.backup'));
 * ```
 */
export class SqliteStateStore implements LeaseGrantingStore {
  /** The file. */
  readonly path: string;
  /** Given at the file's creation; tells two stores apart. */
  readonly clusterId: string;
  readonly #clock: Clock;
  readonly #database: DatabaseSync;
  readonly #tables: StateTables;
  readonly #queue: CommitQueue;
  readonly #requests: RequestMemory;
  readonly #leases: SqliteLeases;
  readonly #maintenance: Maintenance;
  readonly #recent: RecentEvents;
  readonly #changed = new Pulse();
  readonly #saveMeta: StatementSync;
  /** What is committed; `#tables` may be ahead inside a batch. */
  #revision: Revision;
  #compactRevision: Revision;
  #closing: Promise<void> | undefined;

  constructor(options: SqliteStateStoreOptions) {
    this.path = options.path;
    this.#clock = options.clock ?? systemClock;
    const { database, meta } = openStateFile(options.path, {
      now: this.#clock.now(),
      random: options.random ?? systemRandom,
    });
    this.#database = database;
    this.clusterId = meta.clusterId;
    this.#revision = meta.revision;
    this.#compactRevision = meta.compactRevision;
    this.#tables = new StateTables(options.path, database, meta.revision, meta.compactRevision);
    this.#recent = new RecentEvents(meta.revision + 1);
    this.#requests = new RequestMemory(database, this.#clock, meta.epoch);
    this.#saveMeta = database.prepare('UPDATE meta SET current_rev = ?, compact_rev = ?');
    this.#queue = new CommitQueue({
      database,
      beforeCommit: () => this.#saveCounters(),
      rolledBack: () => {
        this.#tables.revision = this.#revision;
        this.#tables.compactRevision = this.#compactRevision;
      },
    });
    this.#leases = new SqliteLeases({
      clock: this.#clock,
      random: options.random ?? systemRandom,
      database,
      queue: this.#queue,
      tables: this.#tables,
      publish: (events) => this.#publish(events),
    });
    this.#maintenance = new Maintenance({
      path: options.path,
      database,
      clock: this.#clock,
      queue: this.#queue,
      sweeper: new Sweeper(database, this.#clock, meta.sweptRevision),
      requests: this.#requests,
      history: options.history ?? {},
      revision: () => this.#revision,
      compactRevision: () => this.#compactRevision,
      compact: (revision) => this.#moveCompaction(revision),
    });
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    this.#requireOpen();
    validateRangeQuery(query);
    validateReadRevision(query.revision, this.#compactRevision, this.#revision);
    return { ...this.#tables.range(query), revision: this.#revision };
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#requireOpen();
    validateTxn(txn);
    const { result } = await this.#queue.submit({
      run: () => this.#transact(txn),
      committed: ({ events }) => this.#publish(events),
    });
    return result;
  }

  watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    // "After now" means after this call, not after the first look at the iterator.
    return this.#watch(query, query.fromRevision ?? this.#revision + 1);
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    this.#requireOpen();
    return this.#leases.lease(options);
  }

  /** As the contract says; resolves when it is durable. The space is given back afterwards, in small slices. */
  async compact(revision: Revision): Promise<void> {
    this.#requireOpen();
    validateCompaction(revision, this.#compactRevision, this.#revision);
    await this.#moveCompaction(revision);
    this.#maintenance.sweep().catch(() => {});
  }

  /** Resolves when all compacted history is gone from the file and its space is given back. */
  async sweep(): Promise<void> {
    this.#requireOpen();
    await this.#maintenance.sweep();
  }

  /**
   * Writes a checked copy of the file, as of one commit, while the store is in use. Error: `BACKUP_FAILED`.
   *
   * @param path where to; a file there is replaced once the copy is complete
   */
  async backup(
    path: string,
    options: { onProgress?: (progress: BackupProgress) => void } = {},
  ): Promise<void> {
    this.#requireOpen();
    await writeBackup(this.#database, path, options.onProgress);
  }

  async grantLease(options: { ttlMs: number }): Promise<GrantedLease> {
    this.#requireOpen();
    return this.#leases.grant(options);
  }

  async keepAlive(leaseId: string): Promise<GrantedLease> {
    this.#requireOpen();
    return this.#leases.keepAlive(leaseId);
  }

  async revokeLease(leaseId: string): Promise<void> {
    this.#requireOpen();
    await this.#leases.revoke(leaseId);
  }

  /** Commits what waits, then lets go of the file. Leases of this process are lost; others live on at the next start. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#leases.close();
    this.#changed.notify();
    await this.#maintenance.close();
    await this.#queue.close();
    this.#database.close();
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw storeClosedError();
  }

  #transact(txn: Txn): { result: TxnResult; events: readonly WatchEvent[] } {
    const { requestId } = txn;
    const known = requestId === undefined ? undefined : this.#requests.find(requestId);
    if (known !== undefined) return { result: known, events: [] };
    for (const op of [...txn.success, ...(txn.failure ?? [])]) {
      // The table knows which leases exist, the deadlines which of them are over but not yet removed.
      if (op.op === 'put' && op.leaseId !== undefined) this.#leases.requireIfKnown(op.leaseId);
    }
    const done = this.#tables.transact(txn);
    if (requestId !== undefined) this.#requests.remember(requestId, done.result);
    return done;
  }

  /** A batch that only read writes nothing, and so costs no sync. */
  #saveCounters(): void {
    const { revision, compactRevision } = this.#tables;
    if (revision === this.#revision && compactRevision === this.#compactRevision) return;
    this.#saveMeta.run(revision, compactRevision);
  }

  async #moveCompaction(revision: Revision): Promise<void> {
    await this.#queue.submit({
      run: () => {
        validateCompaction(revision, this.#tables.compactRevision, this.#tables.revision);
        this.#tables.compactRevision = revision;
      },
      committed: () => {
        this.#compactRevision = revision;
        // A watcher that stood before it must learn so.
        this.#changed.notify();
      },
    });
  }

  /** After the commit: what everybody may see from now on. */
  #publish(events: readonly WatchEvent[]): void {
    if (events.length === 0) return;
    this.#revision += 1;
    this.#recent.push(events);
    this.#changed.notify();
  }

  async *#watch(query: WatchQuery, fromRevision: Revision): AsyncGenerator<readonly WatchEvent[]> {
    validateWatchQuery(query);
    let next = fromRevision;
    // The watcher pulls: a slow one costs no memory, and one that falls behind the compaction is told so.
    while (query.signal?.aborted !== true) {
      this.#requireOpen();
      if (next < this.#compactRevision) throw compactedError(next, this.#compactRevision);
      if (next > this.#revision) {
        await this.#changed.wait(query.signal);
        continue;
      }
      const recent = this.#recent.at(next);
      const batches =
        recent === undefined ? this.#tables.eventsBetween(next, this.#revision, CATCH_UP_EVENTS) : [recent];
      for (const batch of batches) {
        if (query.signal?.aborted) return;
        const events = batch.filter((event) =>
          (event.type === 'put' ? event.kv.key : event.key).startsWith(query.prefix),
        );
        if (events.length > 0) yield events;
        next = (batch[0]?.revision ?? next) + 1;
      }
    }
  }
}
