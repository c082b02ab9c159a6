// TraceStore: spans in SQLite, traces as trees, the map of who calls whom.

import { join } from 'node:path';
import { type Clock, errorMessage, systemClock, type Timer } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import { parseAttributes } from '../logs/store.ts';
import { Database, numberOf, optionalTextOf, type Row, textOf } from '../storage/database.ts';
import type {
  ServiceCall,
  Span,
  SpanKind,
  Trace,
  TraceQuery,
  TraceStoreOptions,
  TraceSummary,
} from './trace-types.ts';
import { buildTrace } from './tree.ts';

const DEFAULT_RETENTION_MS = 3 * 24 * 60 * 60 * 1000;
const DEFAULT_MAX_SPANS = 1_000_000;
const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1000;
/** Spans of one trace that are answered; more is a producer that never starts a new trace. */
const MAX_TRACE_SPANS = 20_000;
const MAINTENANCE_MS = 60_000;
const DELETE_BATCH = 10_000;
const KINDS: readonly SpanKind[] = ['internal', 'server', 'client', 'producer', 'consumer'];

const MIGRATIONS = [
  `CREATE TABLE spans (trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT, service TEXT NOT NULL, name TEXT NOT NULL,
     kind TEXT NOT NULL, started_at REAL NOT NULL, duration_ms REAL NOT NULL, status TEXT NOT NULL, status_message TEXT,
     attributes TEXT NOT NULL, events TEXT NOT NULL, links TEXT NOT NULL, PRIMARY KEY (trace_id, span_id)) WITHOUT ROWID;
   CREATE INDEX spans_by_time ON spans (started_at);
   CREATE INDEX spans_by_service ON spans (service, started_at);`,
];

/**
 * Stores spans and answers traces.
 *
 * @example
 * ```ts
 * import { TraceStore } from '@heptad/monitoring';
 *
 * await using store = new TraceStore();
 * const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
 * const common = { traceId, kind: 'server', status: 'ok', attributes: {}, events: [], links: [] } as const;
 * store.append([
 *   { ...common, spanId: '00f067aa0ba902b7', service: 'shop', name: 'GET /', startedAt: Date.now(), durationMs: 12 },
 * ]);
 * console.log(store.trace(traceId).services); // [ 'shop' ]
 * ```
 */
export class TraceStore implements AsyncDisposable {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #maxSpans: number;
  readonly #maintenance: Timer;
  #closed = false;

  constructor(options: TraceStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#retentionMs = options.retentionMs ?? DEFAULT_RETENTION_MS;
    this.#maxSpans = options.maxSpans ?? DEFAULT_MAX_SPANS;
    const path = options.directory === undefined ? ':memory:' : join(options.directory, 'traces.db');
    this.#database = new Database({ path, fsync: options.fsync ?? true, migrations: MIGRATIONS });
    this.#maintenance = this.#clock.interval(MAINTENANCE_MS, () => this.maintain(), { unref: true });
  }

  /** Stores spans, all or none; durable when this returns. A span sent again replaces itself. */
  append(spans: readonly Span[]): void {
    this.#assertOpen('append');
    try {
      this.#database.transaction(() => {
        for (const span of spans) this.#insert(span);
      });
    } catch (error) {
      throw new MonitoringError(
        'WRITE_FAILED',
        `cannot store ${spans.length} spans: ${errorMessage(error)}`,
        {
          cause: error,
          retryable: true,
          hint: 'check the free space and the permissions of the monitoring directory',
        },
      );
    }
  }

  #insert(span: Span): void {
    this.#database.run(
      `INSERT OR REPLACE INTO spans (trace_id, span_id, parent_id, service, name, kind, started_at, duration_ms, status,
         status_message, attributes, events, links) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      span.traceId.toLowerCase(),
      span.spanId.toLowerCase(),
      span.parentSpanId?.toLowerCase() || null,
      span.service,
      span.name,
      span.kind,
      span.startedAt,
      span.durationMs,
      span.status,
      span.statusMessage || null,
      JSON.stringify(span.attributes),
      JSON.stringify(span.events),
      JSON.stringify(span.links),
    );
  }

  /** A whole trace. Throws `NOT_FOUND`. */
  trace(traceId: string): Trace {
    this.#assertOpen('read a trace');
    const id = traceId.toLowerCase();
    const spans = this.#database
      .all('SELECT * FROM spans WHERE trace_id = ? LIMIT ?', id, MAX_TRACE_SPANS)
      .map(spanOf);
    if (spans.length === 0) {
      throw new MonitoringError('NOT_FOUND', `there is no trace ${id}`, {
        hint: 'its spans may not have arrived yet, may not have been sampled, or are older than the retention',
      });
    }
    return buildTrace(id, spans);
  }

  /** Traces that match, newest first. */
  search(query: TraceQuery = {}): TraceSummary[] {
    this.#assertOpen('search');
    const where: string[] = [];
    const parameters: (string | number)[] = [];
    const add = (sql: string, value: string | number | undefined): void => {
      if (value === undefined) return;
      where.push(sql);
      parameters.push(value);
    };
    add('service = ?', query.service);
    add('name = ?', query.name);
    add('duration_ms >= ?', query.minDurationMs);
    add('status = ?', query.errorsOnly === true ? 'error' : undefined);
    add('started_at >= ?', query.from);
    add('started_at <= ?', query.to);
    const filter = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`;
    const limit = Math.min(MAX_LIMIT, Math.max(1, query.limit ?? DEFAULT_LIMIT));
    const ids = this.#database.all(
      `SELECT trace_id, max(started_at) AS newest FROM spans ${filter} GROUP BY trace_id ORDER BY newest DESC LIMIT ?`,
      ...parameters,
      limit,
    );
    return ids.map((row) => this.#summary(textOf(row, 'trace_id')));
  }

  #summary(traceId: string): TraceSummary {
    const totals = this.#database.get(
      `SELECT min(started_at) AS begin, max(started_at + duration_ms) AS finish, count(*) AS spans,
         sum(status = 'error') AS errors FROM spans WHERE trace_id = ?`,
      traceId,
    );
    const root = this.#database.get(
      'SELECT service, name FROM spans WHERE trace_id = ? ORDER BY parent_id IS NOT NULL, started_at LIMIT 1',
      traceId,
    );
    const row = { ...totals, ...root };
    const startedAt = numberOf(row, 'begin');
    return {
      traceId,
      startedAt,
      durationMs: numberOf(row, 'finish') - startedAt,
      rootService: textOf(row, 'service'),
      rootName: textOf(row, 'name'),
      spanCount: numberOf(row, 'spans'),
      errorCount: numberOf(row, 'errors'),
    };
  }

  /** Which service called which, between two times. */
  serviceMap(from: number, to: number): ServiceCall[] {
    this.#assertOpen('read the service map');
    return this.#database
      .all(
        `SELECT p.service AS client, c.service AS server, count(*) AS calls, sum(c.status = 'error') AS errors,
           avg(c.duration_ms) AS mean FROM spans c JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_id
         WHERE c.started_at BETWEEN ? AND ? AND p.service <> c.service GROUP BY 1, 2 ORDER BY 1, 2`,
        from,
        to,
      )
      .map((row) => ({
        client: textOf(row, 'client'),
        server: textOf(row, 'server'),
        calls: numberOf(row, 'calls'),
        errors: numberOf(row, 'errors'),
        meanDurationMs: numberOf(row, 'mean'),
      }));
  }

  /** How many spans are stored. */
  count(): number {
    return numberOf(this.#database.get('SELECT count(*) AS n FROM spans') ?? {}, 'n');
  }

  /** Applies retention; runs by itself every minute. */
  maintain(): void {
    if (this.#closed) return;
    const oldest = 'SELECT trace_id, span_id FROM spans';
    const cutoff = this.#clock.now() - this.#retentionMs;
    const expired = `DELETE FROM spans WHERE (trace_id, span_id) IN (${oldest} WHERE started_at < ? LIMIT ?)`;
    while (this.#database.run(expired, cutoff, DELETE_BATCH) === DELETE_BATCH);
    for (let left = this.count() - this.#maxSpans; left > 0; left -= DELETE_BATCH) {
      const batch = Math.min(left, DELETE_BATCH);
      this.#database.run(
        `DELETE FROM spans WHERE (trace_id, span_id) IN (${oldest} ORDER BY started_at LIMIT ?)`,
        batch,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#maintenance.cancel();
    this.#database[Symbol.dispose]();
  }

  #assertOpen(act: string): void {
    if (this.#closed) throw new MonitoringError('CLOSED', `cannot ${act}: the trace store is closed`);
  }
}

function spanOf(row: Row): Span {
  const parentSpanId = optionalTextOf(row, 'parent_id');
  const statusMessage = optionalTextOf(row, 'status_message');
  const status = textOf(row, 'status');
  return {
    traceId: textOf(row, 'trace_id'),
    spanId: textOf(row, 'span_id'),
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    service: textOf(row, 'service'),
    name: textOf(row, 'name'),
    kind: KINDS.find((kind) => kind === row.kind) ?? 'internal',
    startedAt: numberOf(row, 'started_at'),
    durationMs: numberOf(row, 'duration_ms'),
    status: status === 'ok' || status === 'error' ? status : 'unset',
    ...(statusMessage === undefined ? {} : { statusMessage }),
    attributes: parseAttributes(textOf(row, 'attributes')),
    events: parseList(textOf(row, 'events')),
    links: parseList(textOf(row, 'links')),
  };
}

/** A list as this store wrote it. */
function parseList<T>(text: string): T[] {
  const parsed: unknown = JSON.parse(text);
  // Written by JSON.stringify of the same type and read from a checked file.
  return Array.isArray(parsed) ? (parsed as T[]) : [];
}
