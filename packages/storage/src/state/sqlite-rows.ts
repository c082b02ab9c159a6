// Rows of the state file: how keys and checksums are kept, and how a row is trusted again when it is read.

import type { SQLOutputValue } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { HeptadError, type KeyValue } from '@heptad/core';

/** A row as node:sqlite answers it. */
export type Row = Record<string, SQLOutputValue>;

/** One version of a key. `value` null: it was deleted at this revision. */
export interface VersionRow {
  readonly key: Uint8Array;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly leaseId: string | null;
  readonly value: string | null;
}

/** Above every UTF-8 text: the byte 0xff occurs in none. */
const AFTER_ALL_KEYS: Uint8Array = Uint8Array.of(0xff);

/** A key as it is stored: its UTF-8 bytes, which is also the order of keys. */
export function keyBytes(key: string): Uint8Array {
  return Buffer.from(key, 'utf8');
}

/** First key after all that begin with `prefix`. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  if (prefix.length === 0) return AFTER_ALL_KEYS;
  const end = Uint8Array.from(prefix);
  // No byte of UTF-8 is 0xff, so adding one to the last never carries.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return end;
}

/**
 * Checksum of a row. SQLite has none of its own: without it a flipped bit in a value would be served as the truth.
 */
export function checksum(row: VersionRow): number {
  const { revision, createRevision, version, leaseId, value } = row;
  const facts = `${revision},${createRevision},${version},${leaseId ?? ''},${value === null ? '-' : '+'}`;
  return crc32(value ?? '', crc32(facts, crc32(row.key)));
}

/** The state file does not hold what was written to it. */
export function corruptError(path: string, what: string, cause?: unknown): HeptadError<'STORE_CORRUPT'> {
  return new HeptadError('STORE_CORRUPT', `the state file ${path} is damaged: ${what}`, {
    cause,
    hint:
      `nothing was changed; restore a backup with restoreStateFile({ backup, path: '${path}' }), or by hand: ` +
      `stop the server, move ${path}, ${path}-wal and ${path}-shm away together, copy the backup to ${path}, start again`,
    details: { path, what },
  });
}

/** A row of kv or event, checked against its checksum. */
export function versionRow(path: string, row: Row): VersionRow {
  const { key, rev, create_rev, version, lease, value, sum } = row;
  if (
    !(key instanceof Uint8Array) ||
    typeof rev !== 'number' ||
    typeof create_rev !== 'number' ||
    typeof version !== 'number' ||
    (lease !== null && typeof lease !== 'string') ||
    (value !== null && typeof value !== 'string')
  ) {
    throw corruptError(path, 'a row has columns of the wrong type');
  }
  const parsed: VersionRow = {
    key,
    revision: rev,
    createRevision: create_rev,
    version,
    leaseId: lease ?? null,
    value: value ?? null,
  };
  if (checksum(parsed) !== sum) {
    throw corruptError(
      path,
      `the checksum of key ${Buffer.from(key).toString('utf8')} at revision ${rev} is wrong`,
    );
  }
  return parsed;
}

/** The key-value a row stands for; `undefined` for a deletion. */
export function toKeyValue(row: VersionRow): KeyValue | undefined {
  if (row.value === null) return undefined;
  return {
    key: Buffer.from(row.key).toString('utf8'),
    value: row.value,
    createRevision: row.createRevision,
    modRevision: row.revision,
    version: row.version,
    ...(row.leaseId === null ? {} : { leaseId: row.leaseId }),
  };
}
