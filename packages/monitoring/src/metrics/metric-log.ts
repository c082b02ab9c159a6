// The durable half of the metric store: series, chunks and the write-ahead log in one SQLite file.

import { MonitoringError } from '../errors.ts';
import { bytesOf, Database, numberOf, textOf } from '../storage/database.ts';
import type { Labels } from './labels.ts';
import { CHUNK_SPAN_MS, type EncodedChunk, type MemorySeries } from './series.ts';
import type { MetricMetadata } from './store-types.ts';

const MIGRATIONS = [
  `CREATE TABLE series (id INTEGER PRIMARY KEY, labels TEXT NOT NULL);
   CREATE TABLE chunks (series INTEGER NOT NULL, min_time INTEGER NOT NULL, max_time INTEGER NOT NULL,
     samples INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series, min_time)) WITHOUT ROWID;
   CREATE INDEX chunks_by_age ON chunks (max_time);
   CREATE TABLE head (series INTEGER PRIMARY KEY, samples INTEGER NOT NULL, data BLOB NOT NULL);
   CREATE TABLE log (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL);
   CREATE TABLE metadata (name TEXT PRIMARY KEY, type TEXT NOT NULL, help TEXT NOT NULL, unit TEXT NOT NULL);`,
];

/** One logged sample: series id, time and value, 4 + 8 + 8 bytes, big-endian. */
const LOG_ENTRY_BYTES = 20;

/** A sample on its way to disk. */
export interface LogEntry {
  readonly series: number;
  readonly time: number;
  readonly value: number;
}

/** A series as found on disk. */
export interface StoredSeries {
  readonly id: number;
  readonly labels: Labels;
  /** The open chunk, when there is one. */
  readonly head: { readonly bytes: Uint8Array; readonly count: number } | undefined;
  /** Newest time in the chunks, -1 when there are none. */
  readonly chunksUntil: number;
}

/** Reads and writes the file; keeps no state of its own. */
export class MetricLog implements Disposable {
  readonly #database: Database;

  constructor(path: string, fsync: boolean) {
    this.#database = new Database({ path, fsync, migrations: MIGRATIONS });
  }

  /** Makes new series and samples durable, all or nothing. */
  commit(newSeries: readonly MemorySeries[], entries: readonly LogEntry[]): void {
    const data = encodeEntries(entries);
    this.#database.transaction(() => {
      for (const series of newSeries) {
        this.#database.run(
          'INSERT OR IGNORE INTO series (id, labels) VALUES (?, ?)',
          series.id,
          JSON.stringify(series.labels),
        );
      }
      if (entries.length > 0) this.#database.run('INSERT INTO log (data) VALUES (?)', data);
    });
  }

  /**
   * Folds everything that is in memory into chunks and empties the log.
   *
   * One transaction: after a crash either the log is still there and is replayed, or the chunks are complete.
   */
  checkpoint(changed: Iterable<MemorySeries>): void {
    this.#database.transaction(() => {
      for (const series of changed) this.#writeSeries(series);
      this.#database.run('DELETE FROM log');
    });
  }

  #writeSeries(series: MemorySeries): void {
    if (!series.persisted) {
      const labels = JSON.stringify(series.labels);
      this.#database.run('INSERT OR IGNORE INTO series (id, labels) VALUES (?, ?)', series.id, labels);
    }
    for (const chunk of series.sealed) {
      this.#database.run(
        'INSERT OR REPLACE INTO chunks (series, min_time, max_time, samples, data) VALUES (?, ?, ?, ?, ?)',
        series.id,
        chunk.minTime,
        chunk.maxTime,
        chunk.count,
        chunk.bytes,
      );
    }
    const open = series.openChunk();
    if (open === undefined) this.#database.run('DELETE FROM head WHERE series = ?', series.id);
    else {
      this.#database.run(
        'INSERT OR REPLACE INTO head (series, samples, data) VALUES (?, ?, ?)',
        series.id,
        open.count,
        open.bytes,
      );
    }
  }

  /** All series on disk. */
  *series(): Iterable<StoredSeries> {
    const rows = this.#database.iterate(
      `SELECT s.id, s.labels, h.samples, h.data,
         coalesce((SELECT max(max_time) FROM chunks c WHERE c.series = s.id AND
           c.min_time = (SELECT max(min_time) FROM chunks d WHERE d.series = s.id)), -1) AS until
       FROM series s LEFT JOIN head h ON h.series = s.id`,
    );
    for (const row of rows) {
      const head =
        row.data === null ? undefined : { bytes: bytesOf(row, 'data'), count: numberOf(row, 'samples') };
      yield {
        id: numberOf(row, 'id'),
        labels: parseLabels(textOf(row, 'labels')),
        head,
        chunksUntil: numberOf(row, 'until'),
      };
    }
  }

  /** The samples of the log, in the order they were acknowledged. */
  *replay(): Iterable<LogEntry> {
    for (const row of this.#database.iterate('SELECT data FROM log ORDER BY sequence')) {
      yield* decodeEntries(bytesOf(row, 'data'));
    }
  }

  /** The chunks of a series that touch a time range, oldest first. */
  chunks(series: number, start: number, end: number): EncodedChunk[] {
    return this.#database
      .all(
        `SELECT min_time, max_time, samples, data FROM chunks
         WHERE series = ? AND min_time BETWEEN ? AND ? AND max_time >= ? ORDER BY min_time`,
        series,
        // No chunk spans longer, so an older one cannot reach into the range.
        Math.floor(start - CHUNK_SPAN_MS),
        Math.floor(end),
        Math.ceil(start),
      )
      .map((row) => ({
        minTime: numberOf(row, 'min_time'),
        maxTime: numberOf(row, 'max_time'),
        count: numberOf(row, 'samples'),
        bytes: bytesOf(row, 'data'),
      }));
  }

  /** Removes chunks that end before `cutoff`, and answers the series of which nothing is left on disk. */
  expire(cutoff: number): number[] {
    return this.#database.transaction(() => {
      this.#database.run('DELETE FROM chunks WHERE max_time < ?', cutoff);
      return this.#database
        .all(
          `SELECT id FROM series s WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.series = s.id)
           AND NOT EXISTS (SELECT 1 FROM head h WHERE h.series = s.id)`,
        )
        .map((row) => numberOf(row, 'id'));
    });
  }

  /** Forgets series. */
  forget(ids: readonly number[]): void {
    this.#database.transaction(() => {
      for (const id of ids) this.#database.run('DELETE FROM series WHERE id = ?', id);
    });
  }

  describe(name: string, metadata: MetricMetadata): void {
    const { type, help, unit } = metadata;
    this.#database.run('INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)', name, type, help, unit);
  }

  /** What is known of metrics, by name. */
  metadata(): Map<string, MetricMetadata> {
    const out = new Map<string, MetricMetadata>();
    for (const row of this.#database.all('SELECT * FROM metadata')) {
      const type = textOf(row, 'type');
      out.set(textOf(row, 'name'), {
        type: metricType(type),
        help: textOf(row, 'help'),
        unit: textOf(row, 'unit'),
      });
    }
    return out;
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }
}

/** A metric type from text; anything unknown is `untyped`. */
export function metricType(text: string): MetricMetadata['type'] {
  return text === 'counter' || text === 'gauge' || text === 'histogram' || text === 'summary'
    ? text
    : 'untyped';
}

function encodeEntries(entries: readonly LogEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * LOG_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, index) => {
    view.setUint32(index * LOG_ENTRY_BYTES, entry.series);
    view.setFloat64(index * LOG_ENTRY_BYTES + 4, entry.time);
    view.setFloat64(index * LOG_ENTRY_BYTES + 12, entry.value);
  });
  return bytes;
}

function* decodeEntries(bytes: Uint8Array): Iterable<LogEntry> {
  if (bytes.length % LOG_ENTRY_BYTES !== 0) {
    throw new MonitoringError(
      'STORE_CORRUPTED',
      `a log record of the metric store has ${bytes.length} bytes, not a multiple of ${LOG_ENTRY_BYTES}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += LOG_ENTRY_BYTES) {
    yield { series: view.getUint32(at), time: view.getFloat64(at + 4), value: view.getFloat64(at + 12) };
  }
}

function parseLabels(text: string): Labels {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null)
    throw new MonitoringError('STORE_CORRUPTED', 'the labels of a series are not an object');
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) out[name] = String(value);
  return out;
}
