// What the alert manager keeps on disk: open alerts, resolved ones, and notifications not yet delivered.

import { join } from 'node:path';
import { Database, numberOf, type Row, textOf } from '../storage/database.ts';
import type { Alert } from './state.ts';

const MIGRATIONS = [
  `CREATE TABLE open_alerts (fingerprint TEXT PRIMARY KEY, alert TEXT NOT NULL);
   CREATE TABLE archive (id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, resolved_at INTEGER NOT NULL,
     alert TEXT NOT NULL);
   CREATE INDEX archive_by_time ON archive (resolved_at);
   CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL, payload TEXT NOT NULL,
     created_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_at INTEGER NOT NULL, last_error TEXT);`,
];

/** A notification on its way. */
export interface OutboxEntry {
  readonly id: number;
  readonly url: string;
  readonly payload: string;
  readonly createdAt: number;
  readonly attempts: number;
  readonly nextAt: number;
}

/** Resolved alerts kept; the oldest go first. */
const MAX_ARCHIVED = 100_000;

/** The file behind an {@link AlertManager}. */
export class AlertArchive implements Disposable {
  readonly #database: Database;

  constructor(directory: string | undefined, fsync: boolean) {
    const path = directory === undefined ? ':memory:' : join(directory, 'alerts.db');
    this.#database = new Database({ path, fsync, migrations: MIGRATIONS });
  }

  /**
   * Writes the outcome of one evaluation: changed and vanished alerts together with the notifications they cause. One
   * transaction, so that no crash can lose the word about a change that was made.
   */
  commit(outcome: {
    readonly changed: readonly Alert[];
    readonly gone: readonly string[];
    readonly resolved: readonly Alert[];
    readonly notifications: readonly { readonly url: string; readonly payload: string }[];
    readonly now: number;
  }): void {
    this.#database.transaction(() => {
      for (const alert of outcome.changed) {
        this.#database.run(
          'INSERT OR REPLACE INTO open_alerts VALUES (?, ?)',
          alert.fingerprint,
          JSON.stringify(alert),
        );
      }
      for (const fingerprint of [...outcome.gone, ...outcome.resolved.map((alert) => alert.fingerprint)]) {
        this.#database.run('DELETE FROM open_alerts WHERE fingerprint = ?', fingerprint);
      }
      for (const alert of outcome.resolved) {
        const at = alert.resolvedAt ?? outcome.now;
        this.#database.run(
          'INSERT INTO archive (rule, resolved_at, alert) VALUES (?, ?, ?)',
          alert.rule,
          at,
          JSON.stringify(alert),
        );
      }
      for (const { url, payload } of outcome.notifications) {
        this.#database.run(
          'INSERT INTO outbox (url, payload, created_at, next_at) VALUES (?, ?, ?, ?)',
          url,
          payload,
          outcome.now,
          outcome.now,
        );
      }
    });
  }

  /** Alerts that are pending or firing. */
  open(): Alert[] {
    return this.#database.all('SELECT alert FROM open_alerts').map(alertOf);
  }

  /** Resolved alerts, newest first. */
  resolved(query: {
    readonly rule?: string | undefined;
    readonly from: number;
    readonly to: number;
    readonly limit: number;
  }): Alert[] {
    return this.#database
      .all(
        `SELECT alert FROM archive WHERE (? IS NULL OR rule = ?) AND resolved_at BETWEEN ? AND ?
         ORDER BY resolved_at DESC, id DESC LIMIT ?`,
        query.rule ?? null,
        query.rule ?? null,
        query.from,
        query.to,
        query.limit,
      )
      .map(alertOf);
  }

  /** Removes resolved alerts before `cutoff`, and the oldest beyond the limit. */
  expire(cutoff: number): void {
    this.#database.run('DELETE FROM archive WHERE resolved_at < ?', cutoff);
    this.#database.run('DELETE FROM archive WHERE id <= (SELECT max(id) FROM archive) - ?', MAX_ARCHIVED);
  }

  /** Notifications that wait, in the order they were caused. */
  outbox(): OutboxEntry[] {
    return this.#database.all('SELECT * FROM outbox ORDER BY id').map((row) => ({
      id: numberOf(row, 'id'),
      url: textOf(row, 'url'),
      payload: textOf(row, 'payload'),
      createdAt: numberOf(row, 'created_at'),
      attempts: numberOf(row, 'attempts'),
      nextAt: numberOf(row, 'next_at'),
    }));
  }

  /** Notes a failed attempt. */
  postpone(id: number, nextAt: number, error: string): void {
    this.#database.run(
      'UPDATE outbox SET attempts = attempts + 1, next_at = ?, last_error = ? WHERE id = ?',
      nextAt,
      error,
      id,
    );
  }

  /** Takes a notification out: delivered, or given up. */
  settle(id: number): void {
    this.#database.run('DELETE FROM outbox WHERE id = ?', id);
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }
}

function alertOf(row: Row): Alert {
  // Written by JSON.stringify of an Alert by this class, read from a checked file.
  return JSON.parse(textOf(row, 'alert')) as Alert;
}
