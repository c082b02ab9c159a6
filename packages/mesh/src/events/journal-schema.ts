// The event log's file: tables and settings. Format 1, described in docs/formats/event-log.md.

import type { DatabaseSync } from 'node:sqlite';
import { HeptadError } from '@heptad/core';

/** Written into the file; a file of a newer format is refused rather than damaged. */
export const FORMAT_VERSION = 1 as const;
/** "HPEV": tells the file from any other SQLite file. */
const APPLICATION_ID = 0x48504556;

// `pending` holds what a group has been handed and not settled. Everything up to `cursor` and not in `pending` is done.
const TABLES = `
  CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL, first INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS events (
    topic INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT, key TEXT, data TEXT NOT NULL, headers TEXT NOT NULL,
    published_at INTEGER NOT NULL, PRIMARY KEY (topic, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS events_by_id ON events (topic, id, published_at) WHERE id IS NOT NULL;
  CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL, cursor INTEGER NOT NULL, UNIQUE (topic, name)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS pending (
    group_id INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT, attempt INTEGER NOT NULL,
    due_at INTEGER NOT NULL, taken INTEGER NOT NULL, PRIMARY KEY (group_id, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS pending_by_key ON pending (group_id, key, position) WHERE key IS NOT NULL;
`;

/** Makes a new file or checks an old one. Errors: `EVENT_LOG_CORRUPT`, `EVENT_LOG_FORMAT`, `EVENT_LOG_IN_USE`. */
export function prepareJournal(database: DatabaseSync, path: string): void {
  try {
    // One owner: a second process would hand the same event to the same group twice as a matter of course.
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec('BEGIN IMMEDIATE');
    const applicationId = numberOf(database, 'application_id');
    const version = numberOf(database, 'user_version');
    const tables = Object.values(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get() ?? {})[0];
    if (tables !== 0) checkFormat(path, applicationId, version);
    database.exec(TABLES);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${FORMAT_VERSION};`);
    // Whoever held something was lost with the process that served it.
    database.exec('UPDATE pending SET taken = 0');
    database.exec('COMMIT');
    if (tables !== 0) checkIntegrity(database, path);
  } catch (error) {
    throw explain(error, path);
  }
}

function checkFormat(path: string, applicationId: number, version: number): void {
  if (applicationId !== APPLICATION_ID) {
    throw new HeptadError('EVENT_LOG_FORMAT', `cannot open event log ${path}: it is another program's file`, {
      hint: 'choose another path; nothing was changed',
    });
  }
  if (version > FORMAT_VERSION) {
    throw new HeptadError(
      'EVENT_LOG_FORMAT',
      `cannot open event log ${path}: it has format ${version}, this version knows up to ${FORMAT_VERSION}`,
      { hint: 'use the newer version that wrote it; nothing was changed' },
    );
  }
}

function checkIntegrity(database: DatabaseSync, path: string): void {
  const answer = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})[0];
  if (answer !== 'ok') throw corrupt(path, String(answer));
}

function corrupt(path: string, detail: string, cause?: unknown): HeptadError {
  return new HeptadError(
    'EVENT_LOG_CORRUPT',
    `cannot open event log ${path}: the file is damaged (${detail})`,
    {
      hint: `nothing was changed; move ${path} and ${path}-wal aside and put a backup in their place`,
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function explain(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return error;
  const code = error.errcode & 0xff;
  if (code === SQLITE_BUSY) {
    return new HeptadError('EVENT_LOG_IN_USE', `cannot open event log ${path}: another process has it open`, {
      hint: 'stop the other process, or reach its bus through RemoteEventBus',
      cause: error,
    });
  }
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB ? corrupt(path, error.message, error) : error;
}

function numberOf(database: DatabaseSync, pragma: string): number {
  return Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] ?? 0);
}
