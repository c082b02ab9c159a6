// MetricStore: series by label set, newest samples compressed in memory, everything acknowledged on disk.

import { join } from 'node:path';
import { type Clock, errorMessage, systemClock, type Timer } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import type { Labels } from './labels.ts';
import type { Matcher } from './matcher.ts';
import { type LogEntry, MetricLog } from './metric-log.ts';
import { type MemorySeries, readPart } from './series.ts';
import { SeriesTable } from './series-table.ts';
import type {
  AppendResult,
  MetricMetadata,
  MetricStoreOptions,
  MetricStoreStats,
  RejectedSample,
  RejectReason,
  Sample,
  SeriesData,
} from './store-types.ts';

const DEFAULT_RETENTION_MS = 15 * 24 * 60 * 60 * 1000;
const DEFAULT_MAX_SERIES = 100_000;

/** Appends that arrive within this time share one commit and one fsync. */
const GROUP_COMMIT_MS = 2;
/** The log is folded into chunks at this many samples: about 4 MB of log, replayed in well under a second. */
const CHECKPOINT_SAMPLES = 200_000;
/** It is folded at least this often, and retention is applied. */
const MAINTENANCE_MS = 60_000;
/** A series that got nothing for this long keeps no open chunk in memory. */
const HEAD_IDLE_MS = 60 * 60 * 1000;
/** A clock further ahead than this is wrong, and its sample would block the series until then. */
const MAX_AHEAD_MS = 10 * 60 * 1000;
/** Samples kept for a later commit while the disk refuses; beyond it new ones are refused too. */
const MAX_PENDING_SAMPLES = 200_000;
/** A query never reads more samples than this unless it says so. */
export const DEFAULT_MAX_SAMPLES = 10_000_000;

interface Waiter {
  readonly result: AppendResult;
  readonly resolve: (result: AppendResult) => void;
  readonly reject: (error: MonitoringError) => void;
}

/**
 * An embedded time series database.
 *
 * A sample that {@link MetricStore.append} has acknowledged survives kill -9 and, with `fsync`, power loss: it is in
 * the log of one SQLite file before the promise resolves. Samples of one series are taken in the order of time.
 *
 * @example
 * ```ts
 * import { MetricStore } from '@heptad/monitoring';
 *
 * await using store = new MetricStore();
 * const labels = { __name__: 'orders_total', service: 'orders' };
 * await store.append([{ labels, at: Date.now(), value: 41 }]);
 * const [series] = store.select([{ name: '__name__', operator: '=', value: 'orders_total' }], 0, Date.now());
 * console.log(series?.values); // Float64Array(1) [ 41 ]
 * ```
 */
export class MetricStore implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #log: MetricLog;
  readonly #table: SeriesTable;
  readonly #metadata: Map<string, MetricMetadata>;
  readonly #maintenance: Timer;
  #pending: LogEntry[] = [];
  #waiters: Waiter[] = [];
  #commitTimer: Timer | undefined;
  #samplesInLog = 0;
  #appended = 0;
  #rejected = 0;
  #closed = false;

  constructor(options: MetricStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#retentionMs = options.retentionMs ?? DEFAULT_RETENTION_MS;
    this.#table = new SeriesTable(options.maxSeries ?? DEFAULT_MAX_SERIES);
    const path = options.directory === undefined ? ':memory:' : join(options.directory, 'metrics.db');
    this.#log = new MetricLog(path, options.fsync ?? true);
    try {
      this.#load();
      this.#metadata = this.#log.metadata();
    } catch (error) {
      this.#log[Symbol.dispose]();
      throw error;
    }
    this.#maintenance = this.#clock.interval(MAINTENANCE_MS, () => this.maintain(), { unref: true });
  }

  /**
   * Stores samples; resolves once the accepted ones are durable, and says of each other one why it was refused.
   * The same sample twice is accepted twice and stored once.
   *
   * @throws `WRITE_FAILED` when nothing of the batch could be made durable, `CLOSED`.
   */
  append(samples: readonly Sample[]): Promise<AppendResult> {
    if (this.#closed)
      return Promise.reject(new MonitoringError('CLOSED', 'cannot append: the metric store is closed'));
    if (this.#pending.length > MAX_PENDING_SAMPLES)
      return Promise.reject(this.#writeFailed(this.#pending.length));
    const rejected: RejectedSample[] = [];
    const now = this.#clock.now();
    for (const sample of samples) {
      const refusal = this.#take(sample, now);
      if (refusal !== undefined) rejected.push({ sample, ...refusal });
    }
    this.#rejected += rejected.length;
    const result = { accepted: samples.length - rejected.length, rejected };
    this.#commitTimer ??= this.#clock.timer(GROUP_COMMIT_MS, () => this.#commit());
    return new Promise((resolve, reject) => this.#waiters.push({ result, resolve, reject }));
  }

  /** The samples of all series that match, from `start` to `end`, both included. Throws `QUERY_TOO_EXPENSIVE`. */
  select(
    matchers: readonly Matcher[],
    start: number,
    end: number,
    maxSamples: number = DEFAULT_MAX_SAMPLES,
  ): SeriesData[] {
    this.#assertOpen('query');
    let budget = maxSamples;
    const out: SeriesData[] = [];
    for (const series of this.#table.select(matchers)) {
      const data = this.#read(series, start, end, budget);
      budget -= data.times.length;
      if (data.times.length > 0) out.push(data);
    }
    return out;
  }

  /** Label sets of the series that match and have, or had within retention, samples. */
  series(matchers: readonly Matcher[]): Labels[] {
    return this.#table.select(matchers).map((series) => series.labels);
  }

  labelNames(): string[] {
    return this.#table.labelNames();
  }

  labelValues(name: string): string[] {
    return this.#table.labelValues(name);
  }

  /** The newest sample of every series, in no particular order. */
  *latest(): Iterable<Sample> {
    for (const series of this.#table) {
      if (series.lastTime >= 0) yield { labels: series.labels, at: series.lastTime, value: series.lastValue };
    }
  }

  /** Says what a metric is; the last word counts. */
  describe(name: string, metadata: MetricMetadata): void {
    this.#assertOpen('describe a metric');
    const known = this.#metadata.get(name);
    if (known?.type === metadata.type && known.help === metadata.help && known.unit === metadata.unit) return;
    // As many metrics as series at most; each series has one name.
    if (known === undefined && this.#metadata.size >= this.#table.limit) return;
    this.#metadata.set(name, metadata);
    this.#log.describe(name, metadata);
  }

  /** What is known about metrics, by name. */
  get metadata(): ReadonlyMap<string, MetricMetadata> {
    return this.#metadata;
  }

  stats(): MetricStoreStats {
    let headBytes = 0;
    for (const series of this.#table) headBytes += series.bytes;
    return {
      series: this.#table.size,
      samplesAppended: this.#appended,
      samplesRejected: this.#rejected,
      samplesInLog: this.#samplesInLog,
      headBytes,
    };
  }

  /** Folds the log into chunks and applies retention; runs by itself every minute. */
  maintain(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    const idleSince = now - Math.min(HEAD_IDLE_MS, this.#retentionMs);
    for (const series of this.#table) if (series.lastTime < idleSince) series.seal();
    this.#checkpoint();
    const gone = new Set(this.#log.expire(now - this.#retentionMs));
    const forgotten: number[] = [];
    for (const series of [...this.#table]) {
      if (!gone.has(series.id) || series.lastTime >= now - this.#retentionMs) continue;
      this.#table.remove(series);
      forgotten.push(series.id);
    }
    this.#log.forget(forgotten);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#maintenance.cancel();
    this.#commit();
    try {
      this.#checkpoint();
    } finally {
      this.#closed = true;
      this.#log[Symbol.dispose]();
    }
  }

  #take(sample: Sample, now: number): { reason: RejectReason; message: string } | undefined {
    const { at, value } = sample;
    if (!Number.isSafeInteger(at) || at < 0)
      return refuse('invalid', `time ${at} is not a whole number of milliseconds`);
    if (at < now - this.#retentionMs)
      return refuse('too-old', `time ${at} is before the retention of ${this.#retentionMs} ms`);
    if (at > now + MAX_AHEAD_MS)
      return refuse('too-far-ahead', `time ${at} is over ${MAX_AHEAD_MS} ms ahead of this machine's clock`);
    let series: MemorySeries | undefined;
    try {
      series = this.#table.obtain(sample.labels);
    } catch (error) {
      return refuse('invalid', errorMessage(error));
    }
    if (series === undefined) {
      return refuse('too-many-series', `there are ${this.#table.limit} series already, which is the limit`);
    }
    const verdict = series.offer(at, value);
    if (verdict === 'repeated') return undefined;
    if (verdict !== 'appended')
      return refuse(verdict, `time ${at} is not after the newest sample's ${series.lastTime}`);
    series.append(at, value);
    this.#pending.push({ series: series.id, time: at, value });
    this.#appended++;
    return undefined;
  }

  #commit(): void {
    this.#commitTimer?.cancel();
    this.#commitTimer = undefined;
    const waiters = this.#waiters;
    const entries = this.#pending;
    this.#waiters = [];
    this.#pending = [];
    try {
      if (entries.length > 0 || this.#table.unwritten.length > 0)
        this.#log.commit(this.#table.unwritten, entries);
    } catch (error) {
      // The samples are in memory already, so a producer that repeats them would be told they are known: they stay
      // pending, and nothing is acknowledged before the commit that holds them succeeds.
      this.#pending = entries;
      const failure = this.#writeFailed(entries.length, error);
      for (const waiter of waiters) waiter.reject(failure);
      return;
    }
    this.#table.markWritten();
    this.#samplesInLog += entries.length;
    for (const waiter of waiters) waiter.resolve(waiter.result);
    if (this.#samplesInLog >= CHECKPOINT_SAMPLES) this.#checkpoint();
  }

  #checkpoint(): void {
    if (this.#waiters.length > 0) this.#commit();
    const changed = [...this.#table].filter((series) => series.dirty || series.sealed.length > 0);
    if (changed.length === 0 && this.#samplesInLog === 0) return;
    this.#log.checkpoint(changed);
    for (const series of changed) {
      series.storedUntil = series.sealed.at(-1)?.maxTime ?? series.storedUntil;
      series.sealed = [];
      series.dirty = false;
      series.persisted = true;
    }
    this.#samplesInLog = 0;
  }

  #read(series: MemorySeries, start: number, end: number, budget: number): SeriesData {
    const times: number[] = [];
    const values: number[] = [];
    const visit = (time: number, value: number): void => {
      if (times.length >= budget) {
        throw new MonitoringError('QUERY_TOO_EXPENSIVE', 'the query would read more samples than allowed', {
          hint: 'ask for fewer series or a shorter range',
        });
      }
      times.push(time);
      values.push(value);
    };
    if (series.storedUntil >= start) {
      for (const chunk of this.#log.chunks(series.id, start, end)) readPart(chunk, start, end, visit);
    }
    series.read(start, end, visit);
    return { labels: series.labels, times: Float64Array.from(times), values: Float64Array.from(values) };
  }

  #load(): void {
    const byId = new Map<number, MemorySeries>();
    for (const stored of this.#log.series()) {
      const series = this.#table.restore(stored.id, stored.labels);
      series.lastTime = stored.chunksUntil;
      series.storedUntil = stored.chunksUntil;
      if (stored.head !== undefined) series.restore(stored.head.bytes, stored.head.count);
      byId.set(series.id, series);
    }
    for (const { series: id, time, value } of this.#log.replay()) {
      const series = byId.get(id);
      this.#samplesInLog++;
      if (series?.offer(time, value) === 'appended') series.append(time, value);
    }
  }

  #writeFailed(samples: number, cause?: unknown): MonitoringError {
    const why = cause === undefined ? 'earlier ones could not be written either' : errorMessage(cause);
    return new MonitoringError('WRITE_FAILED', `cannot store ${samples} samples: ${why}`, {
      cause,
      hint: 'check the free space and the permissions of the monitoring directory',
      retryable: true,
    });
  }

  #assertOpen(act: string): void {
    if (this.#closed) throw new MonitoringError('CLOSED', `cannot ${act}: the metric store is closed`);
  }
}

function refuse(reason: RejectReason, message: string): { reason: RejectReason; message: string } {
  return { reason, message };
}
