// LogStore: log records with full-text search, bounded by age and number.

import { join } from 'node:path';
import { type Clock, errorMessage, systemClock, type Timer } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import type { Attributes } from '../ingest/otlp-model.ts';
import { Database, numberOf, optionalTextOf, type Row, textOf } from '../storage/database.ts';
import {
  LOG_LEVELS,
  type LogLevel,
  type LogQuery,
  type LogRecord,
  type LogStoreOptions,
  type StoredLog,
} from './log-types.ts';
import { logSearchSql, parseLogSearch } from './search.ts';

const DEFAULT_RETENTION_MS = 7 * 24 * 60 * 60 * 1000;
const DEFAULT_MAX_RECORDS = 1_000_000;
const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 10_000;
/** A longer body is cut here, and says so: one record must not crowd out the others. */
const MAX_BODY_LENGTH = 64 * 1024;
const MAINTENANCE_MS = 60_000;
/** Removed at a time, so that a large clean-up does not hold the file for seconds. */
const DELETE_BATCH = 10_000;

const MIGRATIONS = [
  // The text index keeps no copy of the bodies (external content); the triggers keep it in step.
  `CREATE TABLE logs (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, level TEXT NOT NULL, service TEXT NOT NULL,
     body TEXT NOT NULL, trace_id TEXT, span_id TEXT, attributes TEXT);
   CREATE INDEX logs_by_time ON logs (at);
   CREATE INDEX logs_by_trace ON logs (trace_id) WHERE trace_id IS NOT NULL;
   CREATE INDEX logs_by_service ON logs (service, at);
   CREATE VIRTUAL TABLE logs_text USING fts5 (body, content = 'logs', content_rowid = 'id');
   CREATE TRIGGER logs_added AFTER INSERT ON logs BEGIN
     INSERT INTO logs_text (rowid, body) VALUES (new.id, new.body); END;
   CREATE TRIGGER logs_removed AFTER DELETE ON logs BEGIN
     INSERT INTO logs_text (logs_text, rowid, body) VALUES ('delete', old.id, old.body); END;`,
];

/**
 * Stores log records and searches them.
 *
 * @example
 * ```ts
 * import { LogStore } from '@heptad/monitoring';
 *
 * await using store = new LogStore();
 * store.append([{ at: Date.now(), level: 'error', service: 'orders', body: 'payment refused: card expired' }]);
 * for (const log of store.search({ search: 'level:error "card expired"' })) console.log(log.service, log.body);
 * ```
 */
export class LogStore implements AsyncDisposable {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #maxRecords: number;
  readonly #maintenance: Timer;
  #closed = false;

  constructor(options: LogStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#retentionMs = options.retentionMs ?? DEFAULT_RETENTION_MS;
    this.#maxRecords = options.maxRecords ?? DEFAULT_MAX_RECORDS;
    const path = options.directory === undefined ? ':memory:' : join(options.directory, 'logs.db');
    this.#database = new Database({ path, fsync: options.fsync ?? true, migrations: MIGRATIONS });
    this.#maintenance = this.#clock.interval(MAINTENANCE_MS, () => this.maintain(), { unref: true });
  }

  /** Stores records, all or none; they are durable when this returns. Throws `WRITE_FAILED`, `CLOSED`. */
  append(records: readonly LogRecord[]): void {
    this.#assertOpen('append');
    try {
      this.#database.transaction(() => {
        for (const record of records) this.#insert(record);
      });
    } catch (error) {
      throw new MonitoringError(
        'WRITE_FAILED',
        `cannot store ${records.length} log records: ${errorMessage(error)}`,
        {
          cause: error,
          retryable: true,
          hint: 'check the free space and the permissions of the monitoring directory',
        },
      );
    }
  }

  #insert(record: LogRecord): void {
    const { body } = record;
    const kept =
      body.length > MAX_BODY_LENGTH ? `${body.slice(0, MAX_BODY_LENGTH)}… (${body.length} characters)` : body;
    this.#database.run(
      'INSERT INTO logs (at, level, service, body, trace_id, span_id, attributes) VALUES (?, ?, ?, ?, ?, ?, ?)',
      record.at,
      record.level,
      record.service,
      kept,
      record.traceId?.toLowerCase() || null,
      record.spanId?.toLowerCase() || null,
      record.attributes === undefined || Object.keys(record.attributes).length === 0
        ? null
        : JSON.stringify(record.attributes),
    );
  }

  /** The records that match, newest first (oldest first with `after`). Throws `INVALID_QUERY`, `CLOSED`. */
  search(query: LogQuery = {}): StoredLog[] {
    this.#assertOpen('search');
    const conditions = logSearchSql(parseLogSearch(query.search ?? ''));
    const where: string[] = conditions.map(({ sql }) => sql);
    const parameters: (string | number)[] = conditions.flatMap((condition) => [...condition.parameters]);
    const bound = (sql: string, value: number | undefined): void => {
      if (value === undefined) return;
      where.push(sql);
      parameters.push(value);
    };
    bound('at >= ?', query.from);
    bound('at <= ?', query.to);
    bound('id < ?', query.before);
    bound('id > ?', query.after);
    const filter = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`;
    const order = query.after === undefined ? 'at DESC, id DESC' : 'id ASC';
    const limit = Math.min(MAX_LIMIT, Math.max(1, query.limit ?? DEFAULT_LIMIT));
    return this.#database
      .all(`SELECT * FROM logs ${filter} ORDER BY ${order} LIMIT ?`, ...parameters, limit)
      .map(logOf);
  }

  /** The records of a trace, oldest first, at most 10,000. */
  ofTrace(traceId: string): StoredLog[] {
    this.#assertOpen('search');
    return this.#database
      .all('SELECT * FROM logs WHERE trace_id = ? ORDER BY at, id LIMIT ?', traceId.toLowerCase(), MAX_LIMIT)
      .map(logOf);
  }

  /** How many records are stored. */
  count(): number {
    return numberOf(this.#database.get('SELECT count(*) AS n FROM logs') ?? {}, 'n');
  }

  /** Applies retention; runs by itself every minute. */
  maintain(): void {
    if (this.#closed) return;
    const cutoff = this.#clock.now() - this.#retentionMs;
    const doomed = 'SELECT id FROM logs WHERE at < ? ORDER BY at LIMIT ?';
    while (
      this.#database.run(`DELETE FROM logs WHERE id IN (${doomed})`, cutoff, DELETE_BATCH) === DELETE_BATCH
    );
    const excess = this.count() - this.#maxRecords;
    for (let left = excess; left > 0; left -= DELETE_BATCH) {
      const batch = Math.min(left, DELETE_BATCH);
      this.#database.run('DELETE FROM logs WHERE id IN (SELECT id FROM logs ORDER BY at, id LIMIT ?)', batch);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#maintenance.cancel();
    this.#database[Symbol.dispose]();
  }

  #assertOpen(act: string): void {
    if (this.#closed) throw new MonitoringError('CLOSED', `cannot ${act}: the log store is closed`);
  }
}

function logOf(row: Row): StoredLog {
  const traceId = optionalTextOf(row, 'trace_id');
  const spanId = optionalTextOf(row, 'span_id');
  const attributes = optionalTextOf(row, 'attributes');
  return {
    id: numberOf(row, 'id'),
    at: numberOf(row, 'at'),
    level: levelOf(textOf(row, 'level')),
    service: textOf(row, 'service'),
    body: textOf(row, 'body'),
    ...(traceId === undefined ? {} : { traceId }),
    ...(spanId === undefined ? {} : { spanId }),
    ...(attributes === undefined ? {} : { attributes: parseAttributes(attributes) }),
  };
}

function levelOf(text: string): LogLevel {
  return LOG_LEVELS.find((level) => level === text) ?? 'info';
}

/** Attributes as this package wrote them. */
export function parseAttributes(text: string): Attributes {
  const parsed: unknown = JSON.parse(text);
  // Written by JSON.stringify of Attributes and read from a checked file: the shape is what was written.
  return typeof parsed === 'object' && parsed !== null ? (parsed as Attributes) : {};
}
