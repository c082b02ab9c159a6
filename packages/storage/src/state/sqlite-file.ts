// The state file: made whole or not at all, checked before it is touched, owned by one process.

import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errorMessage, HeptadError, type Random } from '@heptad/core';
import { corruptError, type Row, versionRow } from './sqlite-rows.ts';

/** "HPTD": tells our files from other SQLite files. */
const APPLICATION_ID = 0x48505444;
/** Format of the tables below; a newer one is refused. */
const FORMAT = 1;
/** SQLite's primary result codes this file reacts to. */
const SQLITE = { busy: 5, corrupt: 11, notADatabase: 26 } as const;

/**
 * - `meta`: one row. `swept_rev`: below it, `event` holds at most the newest put of each key.
 * - `kv`: the present state. `event`: every change, `sub` counting within its revision (etcd's main.sub).
 * - `request`: answers of transactions with a requestId. `at_ms` is monotonic within `epoch`, the count of starts.
 */
const SCHEMA = `
  CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1), current_rev INTEGER NOT NULL, compact_rev INTEGER NOT NULL,
    swept_rev INTEGER NOT NULL, cluster_id TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
  CREATE TABLE kv(
    key BLOB PRIMARY KEY, rev INTEGER NOT NULL, create_rev INTEGER NOT NULL, version INTEGER NOT NULL,
    lease TEXT, value TEXT NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX kv_lease ON kv(lease) WHERE lease IS NOT NULL;
  CREATE TABLE event(
    rev INTEGER NOT NULL, sub INTEGER NOT NULL, key BLOB NOT NULL, create_rev INTEGER NOT NULL,
    version INTEGER NOT NULL, lease TEXT, value TEXT, sum INTEGER NOT NULL,
    PRIMARY KEY (rev, sub)) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX event_key ON event(key, rev);
  CREATE TABLE lease(id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE request(
    id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, at_ms INTEGER NOT NULL, result TEXT NOT NULL) STRICT;
  CREATE INDEX request_age ON request(epoch, at_ms);
`;

/** What the meta row says. */
export interface StateFileMeta {
  readonly revision: number;
  readonly compactRevision: number;
  readonly sweptRevision: number;
  readonly clusterId: string;
  readonly epoch: number;
}

/** An open, checked state file. */
export interface StateFile {
  readonly database: DatabaseSync;
  readonly meta: StateFileMeta;
}

function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number')
    return undefined;
  // The low byte is the primary code; the rest says more.
  return error.errcode & 0xff;
}

function whole(row: Row | undefined, column: string): number {
  const value = row?.[column];
  return typeof value === 'number' ? value : -1;
}

function readMeta(path: string, database: DatabaseSync): StateFileMeta {
  const row = database.prepare('SELECT * FROM meta WHERE id = 1').get();
  const meta = {
    revision: whole(row, 'current_rev'),
    compactRevision: whole(row, 'compact_rev'),
    sweptRevision: whole(row, 'swept_rev'),
    clusterId: String(row?.cluster_id ?? ''),
    epoch: whole(row, 'epoch'),
  };
  if (meta.revision < 0 || meta.epoch < 0 || meta.compactRevision > meta.revision) {
    throw corruptError(path, 'its meta row is missing or contradicts itself');
  }
  return meta;
}

/** Every invariant that ties the tables together, and the checksum of every row. */
function checkContents(path: string, database: DatabaseSync): void {
  const problems = database.prepare('PRAGMA quick_check(1)').all();
  const verdict = String(problems[0]?.quick_check ?? '');
  if (verdict !== 'ok') throw corruptError(path, verdict);
  const { revision } = readMeta(path, database);
  for (const table of ['kv', 'event']) {
    let newest = 0;
    const rows = database
      .prepare(`SELECT key, rev, create_rev, version, lease, value, sum FROM ${table}`)
      .iterate();
    for (const row of rows) newest = Math.max(newest, versionRow(path, row).revision);
    if (newest > revision) {
      throw corruptError(path, `${table} has revision ${newest}, but the last one written is ${revision}`);
    }
  }
  const strays = database
    .prepare(
      `SELECT count(*) AS n FROM kv LEFT JOIN event ON event.key = kv.key AND event.rev = kv.rev
       WHERE event.sum IS NOT kv.sum`,
    )
    .get();
  if (whole(strays, 'n') > 0) throw corruptError(path, 'its present state does not follow from its history');
}

function inUseError(path: string, cause: unknown): HeptadError<'STORE_IN_USE'> {
  return new HeptadError('STORE_IN_USE', `cannot open the state file ${path}: another process has it open`, {
    cause,
    hint: 'only one server may own a state file; stop the other one',
    details: { path },
  });
}

/** Runs `use`; failures of SQLite become errors that name the file and the way out. */
function explained<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (error instanceof HeptadError) throw error;
    const code = resultCode(error);
    if (code === SQLITE.busy) throw inUseError(path, error);
    if (code === SQLITE.corrupt || code === SQLITE.notADatabase) {
      throw corruptError(path, errorMessage(error), error);
    }
    throw new HeptadError('STORE_OPEN_FAILED', `cannot open the state file ${path}: ${errorMessage(error)}`, {
      cause: error,
      hint: 'check that the directory exists and may be written',
      details: { path },
    });
  }
}

/**
 * Looks at a state file without changing a byte of it. Errors: `STORE_CORRUPT`, `STORE_IN_USE`, `STORE_OPEN_FAILED`.
 */
export function checkStateFile(path: string): void {
  const sharedMemory = `${path}-shm`;
  const hadSharedMemory = existsSync(sharedMemory);
  explained(path, () => {
    // An empty file is what a file system leaves of a lost one; SQLite would take it for a new database.
    if (statSync(path).size === 0) throw corruptError(path, 'it is empty');
    const database = new DatabaseSync(path, { readOnly: true });
    try {
      const { application_id: application } = database.prepare('PRAGMA application_id').get() ?? {};
      const { user_version: format } = database.prepare('PRAGMA user_version').get() ?? {};
      if (application !== APPLICATION_ID) throw corruptError(path, 'it is not a Heptad state file');
      if (format !== FORMAT) {
        throw new HeptadError(
          'STORE_FORMAT_UNKNOWN',
          `the state file ${path} has format ${String(format)}; this version reads ${FORMAT}`,
          { hint: 'open it with the Heptad version that wrote it, or a newer one', details: { path } },
        );
      }
      checkContents(path, database);
    } finally {
      database.close();
      if (!hadSharedMemory) rmSync(sharedMemory, { force: true });
    }
  });
}

/** Makes an entry of a directory durable. */
export function syncDirectoryOf(path: string): void {
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** A new file appears under its name only when it is complete: a crash in between leaves none. */
function createStateFile(path: string, clusterId: string): void {
  const fresh = `${path}.new`;
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${fresh}${suffix}`, { force: true });
  const database = new DatabaseSync(fresh);
  database.exec('PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  database.exec(`BEGIN; ${SCHEMA}`);
  database.prepare('INSERT INTO meta VALUES (1, 0, 0, 0, ?, 0)').run(clusterId);
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${FORMAT}; COMMIT`);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
  renameSync(fresh, path);
  syncDirectoryOf(path);
}

/**
 * Opens a state file, creating it when there is none, and owns it until it is closed.
 *
 * Errors: `STORE_CORRUPT` (nothing was touched), `STORE_FORMAT_UNKNOWN`, `STORE_IN_USE`, `STORE_OPEN_FAILED`.
 */
export function openStateFile(path: string, options: { now: number; random: Random }): StateFile {
  if (existsSync(path)) checkStateFile(path);
  else explained(path, () => createStateFile(path, options.random.uuid(options.now)));
  return explained(path, () => {
    const database = new DatabaseSync(path);
    try {
      // Exclusive before anything else: the lock is what keeps a second server out.
      database.exec(
        'PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF',
      );
      database.exec('BEGIN EXCLUSIVE');
      database.exec('UPDATE meta SET epoch = epoch + 1');
      database.exec('COMMIT');
      return { database, meta: readMeta(path, database) };
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

/**
 * Puts a backup in the place of a state file that no server has open. What was there is kept beside it, under the name
 * answered, with its write-ahead log: a log left behind would be replayed into the restored file.
 *
 * Errors: those of opening, for the backup; the present file may be as damaged as it likes.
 */
export function restoreStateFile(options: { backup: string; path: string; now: number }): string | undefined {
  checkStateFile(options.backup);
  const aside = `${options.path}.replaced-${options.now}`;
  const had = existsSync(options.path);
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(`${options.path}${suffix}`)) renameSync(`${options.path}${suffix}`, `${aside}${suffix}`);
  }
  const fresh = `${options.path}.new`;
  rmSync(fresh, { force: true });
  explained(options.path, () => {
    const source = new DatabaseSync(options.backup, { readOnly: true });
    try {
      // A copy by SQLite itself takes the backup's own log into account, if it has one.
      source.prepare('VACUUM INTO ?').run(fresh);
    } finally {
      source.close();
    }
  });
  const descriptor = openSync(fresh, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(fresh, options.path);
  syncDirectoryOf(options.path);
  return had ? aside : undefined;
}
