// One SQLite file: opened exclusively, checked, migrated, and read through parsers instead of casts.

import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { errorMessage } from '@heptad/core';
import { MonitoringError } from '../errors.ts';

/** A row as SQLite answers it. */
export type Row = Record<string, SQLOutputValue>;

/** What {@link Database} needs to know. */
export interface DatabaseOptions {
  /** A file path, or `:memory:`. */
  readonly path: string;
  /**
   * Statements that bring the schema from version n to n + 1, in order. Never edit one that was released:
   * add another.
   */
  readonly migrations: readonly string[];
  /** Fsync at every commit, so that an acknowledged write survives power loss and not only a crash. */
  readonly fsync: boolean;
}

/** SQLite gives up on a page cache beyond this; the default of 2 MiB makes full-text indexing read back pages. */
const CACHE_KIB = 16 * 1024;

/** The write-ahead file is folded back at this many pages (4 KiB each), which bounds its size and recovery time. */
const CHECKPOINT_PAGES = 2000;

/** An opened SQLite file that this process alone uses. */
export class Database implements Disposable {
  readonly path: string;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(options: DatabaseOptions) {
    this.path = options.path;
    this.#database = open(options);
    try {
      this.#migrate(options.migrations);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** Runs a statement that answers no rows. */
  run(sql: string, ...parameters: (string | number | bigint | null | Uint8Array)[]): number {
    return Number(this.#prepare(sql).run(...parameters).changes);
  }

  /** All rows of a query. */
  all(sql: string, ...parameters: (string | number | bigint | null | Uint8Array)[]): Row[] {
    return this.#prepare(sql).all(...parameters);
  }

  /** The rows of a query one by one, for results that need not fit in memory. */
  iterate(sql: string, ...parameters: (string | number | bigint | null | Uint8Array)[]): Iterable<Row> {
    return this.#prepare(sql).iterate(...parameters);
  }

  /** The first row of a query. */
  get(sql: string, ...parameters: (string | number | bigint | null | Uint8Array)[]): Row | undefined {
    return this.#prepare(sql).get(...parameters);
  }

  /** Runs `work` in one transaction: all of it is durable when this returns, none of it when it throws. */
  transaction<T>(work: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE');
    let result: T;
    try {
      result = work();
      this.#database.exec('COMMIT');
    } catch (error) {
      // SQLite may have rolled back by itself (disk full); a second ROLLBACK would hide the first error.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
    return result;
  }

  [Symbol.dispose](): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #migrate(migrations: readonly string[]): void {
    const version = numberOf(this.get('PRAGMA user_version') ?? {}, 'user_version');
    if (version > migrations.length) {
      throw new MonitoringError(
        'STORE_TOO_NEW',
        `cannot open ${this.path}: it has schema version ${version}, this program knows up to ${migrations.length}`,
        { hint: 'run the version of Heptad that wrote it, or give another directory' },
      );
    }
    for (let next = version; next < migrations.length; next++) {
      this.transaction(() => {
        this.#database.exec(migrations[next] ?? '');
        this.#database.exec(`PRAGMA user_version = ${next + 1}`);
      });
    }
  }
}

function open(options: DatabaseOptions): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(options.path);
    // Exclusive: a second process would not see our memory, so it is refused instead of corrupting the story.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    database.exec('PRAGMA journal_mode = WAL');
    database.exec(`PRAGMA synchronous = ${options.fsync ? 'FULL' : 'NORMAL'}`);
    database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
    database.exec('BEGIN EXCLUSIVE; COMMIT');
    const check = database.prepare('PRAGMA quick_check(1)').get();
    const verdict = check === undefined ? 'no answer' : String(Object.values(check)[0]);
    if (verdict !== 'ok') throw new Error(`malformed: ${verdict}`);
    return database;
  } catch (error) {
    if (database?.isOpen) database.close();
    throw openError(options.path, error);
  }
}

function openError(path: string, error: unknown): MonitoringError {
  const reason = errorMessage(error);
  if (/locked|busy/i.test(reason)) {
    return new MonitoringError('STORE_IN_USE', `cannot open ${path}: another process has it open`, {
      cause: error,
      hint: 'stop the other process, or give each its own directory',
      retryable: true,
    });
  }
  if (/malformed|not a database|corrupt/i.test(reason)) {
    return new MonitoringError('STORE_CORRUPTED', `cannot open ${path}: ${reason}; nothing was changed`, {
      cause: error,
      hint: 'restore the file from a backup, or move it away to begin with an empty one',
    });
  }
  return new MonitoringError('WRITE_FAILED', `cannot open ${path}: ${reason}`, { cause: error });
}

/** A numeric column. */
export function numberOf(row: Row, column: string): number {
  const value = row[column];
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  throw new MonitoringError('STORE_CORRUPTED', `column ${column} holds ${typeof value}, not a number`);
}

/** A text column. */
export function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new MonitoringError('STORE_CORRUPTED', `column ${column} holds ${typeof value}, not text`);
}

/** A text column that may be null. */
export function optionalTextOf(row: Row, column: string): string | undefined {
  return row[column] === null || row[column] === undefined ? undefined : textOf(row, column);
}

/** A numeric column that may be null. */
export function optionalNumberOf(row: Row, column: string): number | undefined {
  return row[column] === null || row[column] === undefined ? undefined : numberOf(row, column);
}

/** A blob column. */
export function bytesOf(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (value instanceof Uint8Array) return value;
  throw new MonitoringError('STORE_CORRUPTED', `column ${column} holds ${typeof value}, not bytes`);
}
