// MonitoringStack: the three stores, ingest, queries, correlation, detection and alerts as one object.

import { mkdirSync } from 'node:fs';
import { type Clock, type Random, systemClock, systemRandom } from '@heptad/core';
import { AlertManager, type AlertManagerOptions } from './alert/manager.ts';
import { type CorrelateOptions, type Correlation, correlate } from './correlate.ts';
import { type Anomaly, type AnomalyOptions, findAnomalies } from './detect/anomalies.ts';
import { MonitoringError } from './errors.ts';
import { bodyFormat, decompress } from './ingest/body.ts';
import { convertMetrics } from './ingest/convert-metrics.ts';
import { DeltaAccumulator } from './ingest/delta.ts';
import { readLogs, readMetrics, readSpans, type Signal } from './ingest/otlp.ts';
import { convertLogs } from './logs/convert.ts';
import type { LogQuery, StoredLog } from './logs/log-types.ts';
import { LogStore } from './logs/store.ts';
import { writeExposition } from './metrics/exposition.ts';
import { type Labels, METRIC_NAME } from './metrics/labels.ts';
import { MetricStore } from './metrics/store.ts';
import type { Sample } from './metrics/store-types.ts';
import { LOOKBACK_MS, QueryEngine, type QueryRange } from './query/engine.ts';
import type { QueryData } from './query/value.ts';
import { type ScrapeOptions, type ScrapeResult, Scraper } from './scrape.ts';
import { ownMetrics } from './self.ts';
import { convertSpans } from './traces/convert.ts';
import { TraceStore } from './traces/store.ts';
import type { Trace, TraceQuery, TraceSummary } from './traces/trace-types.ts';

/** How long each signal is kept, in milliseconds, and how much of it at most. */
export interface Retention {
  /** Default 15 days. */
  readonly metricsMs?: number;
  /** Default 7 days. */
  readonly logsMs?: number;
  /** Default 3 days. */
  readonly tracesMs?: number;
  /** Default 100,000. */
  readonly maxSeries?: number;
  /** Default 1,000,000. */
  readonly maxLogs?: number;
  /** Default 1,000,000. */
  readonly maxSpans?: number;
}

/** Options of {@link MonitoringStack}. */
export interface MonitoringStackOptions {
  /** Where the databases live; created when missing. Default: memory only. One process at a time. */
  readonly directory?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly retention?: Retention;
  /** Fsync each commit, so that what was acknowledged survives power loss. Default true. */
  readonly fsync?: boolean;
  /** Rules, webhook and interval of the alert manager. */
  readonly alerts?: Pick<
    AlertManagerOptions,
    'rules' | 'webhook' | 'intervalMs' | 'delivery' | 'archiveMs' | 'onDelivery'
  >;
  /** Defaults of {@link MonitoringStack.anomalies}. */
  readonly anomalies?: AnomalyOptions;
}

/** The answer to an OTLP request: how many items were refused, and why, when any were. */
export interface IngestResult {
  readonly accepted: number;
  readonly rejected: number;
  /** Some of the reasons; empty when nothing was refused. */
  readonly message: string;
}

/** Reasons named in one answer. */
const MAX_REASONS = 3;

/**
 * Metrics, logs and traces in one embedded, durable store.
 *
 * @example
 * ```ts
 * import { MonitoringStack } from '@heptad/monitoring';
 *
 * await using stack = new MonitoringStack();
 * const now = Date.now();
 * await stack.append('orders_total', { service: 'orders' }, 10, now - 60_000);
 * await stack.append('orders_total', { service: 'orders' }, 70, now);
 * const { result } = await stack.query('rate(orders_total[2m])', now);
 * console.log(JSON.stringify(result));
 * ```
 */
export class MonitoringStack implements AsyncDisposable {
  readonly metrics: MetricStore;
  readonly logs: LogStore;
  readonly traces: TraceStore;
  readonly engine: QueryEngine;
  readonly alerts: AlertManager;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #scraper: Scraper;
  readonly #deltas = new DeltaAccumulator();
  readonly #anomalyOptions: AnomalyOptions;
  readonly #resources = new AsyncDisposableStack();

  constructor(options: MonitoringStackOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#anomalyOptions = options.anomalies ?? {};
    const { directory, retention = {}, fsync = true } = options;
    if (directory !== undefined) mkdirSync(directory, { recursive: true, mode: 0o700 });
    const common = { clock: this.#clock, fsync, ...(directory === undefined ? {} : { directory }) };
    const { metricsMs, logsMs, tracesMs, maxSeries, maxLogs, maxSpans } = retention;
    try {
      this.metrics = this.#resources.use(
        new MetricStore({ ...common, ...given({ retentionMs: metricsMs, maxSeries }) }),
      );
      this.logs = this.#resources.use(
        new LogStore({ ...common, ...given({ retentionMs: logsMs, maxRecords: maxLogs }) }),
      );
      this.traces = this.#resources.use(
        new TraceStore({ ...common, ...given({ retentionMs: tracesMs, maxSpans }) }),
      );
      this.engine = new QueryEngine(this.metrics, { clock: this.#clock });
      this.alerts = this.#resources.use(
        new AlertManager({ ...common, random: this.#random, ...options.alerts, source: this.engine }),
      );
    } catch (error) {
      // What was opened before a file refused must not stay locked. Closing a store does its work before it yields.
      void this.#resources.disposeAsync();
      throw error;
    }
    this.#scraper = new Scraper(this.metrics, this.#clock);
  }

  /**
   * Takes an OTLP/HTTP export request, in protobuf or JSON, plain or gzip; resolves once the accepted part is durable.
   *
   * @throws `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE` (over 4 MiB), `UNSUPPORTED_MEDIA_TYPE`, `WRITE_FAILED`.
   */
  async ingestOtlp(
    signal: Signal,
    body: Uint8Array,
    contentType: string,
    contentEncoding?: string,
  ): Promise<IngestResult> {
    const format = bodyFormat(contentType);
    const plain = decompress(body, contentEncoding);
    if (signal === 'metrics') return this.#ingestMetrics(readMetrics(plain, format));
    if (signal === 'logs') {
      const records = convertLogs(readLogs(plain, format), this.#clock.now());
      this.logs.append(records);
      return { accepted: records.length, rejected: 0, message: '' };
    }
    const { spans, refused } = convertSpans(readSpans(plain, format));
    this.traces.append(spans);
    return outcome(spans.length, refused);
  }

  async #ingestMetrics(groups: Parameters<typeof convertMetrics>[0]): Promise<IngestResult> {
    const { samples, metadata, refused } = convertMetrics(groups, this.#deltas);
    for (const [name, about] of metadata) this.metrics.describe(name, about);
    const { accepted, rejected } = await this.metrics.append(samples);
    return outcome(accepted, [
      ...refused,
      ...rejected.map((one) => `${one.sample.labels[METRIC_NAME]}: ${one.message}`),
    ]);
  }

  /** Stores one sample, by default of now. Throws as {@link MetricStore.append}, and `INVALID_SAMPLE` when it is refused. */
  async append(name: string, labels: Labels, value: number, at: number = this.#clock.now()): Promise<void> {
    const sample: Sample = { labels: { ...labels, [METRIC_NAME]: name }, at, value };
    const { rejected } = await this.metrics.append([sample]);
    const [refusal] = rejected;
    if (refusal === undefined) return;
    throw new MonitoringError('INVALID_SAMPLE', `cannot store a sample of ${name}: ${refusal.message}`, {
      details: { reason: refusal.reason },
    });
  }

  /** Scrapes a page in Prometheus' text format. See {@link Scraper.scrape}. */
  scrape(url: string, options: ScrapeOptions = {}): Promise<ScrapeResult> {
    return this.#scraper.scrape(url, options);
  }

  /** Evaluates PromQL at one time, in milliseconds, by default now. See {@link QueryEngine.query}. */
  query(expression: string, at?: number): Promise<QueryData> {
    return this.engine.query(expression, at);
  }

  /** Evaluates PromQL over a range, all three in milliseconds. See {@link QueryEngine.queryRange}. */
  queryRange(
    expression: string,
    start: number,
    end: number,
    step: number,
    signal?: AbortSignal,
  ): Promise<QueryData> {
    const range: QueryRange = { start, end, step };
    return this.engine.queryRange(expression, range, signal);
  }

  /** Log records that match. See {@link LogStore.search}. */
  searchLogs(query: LogQuery = {}): StoredLog[] {
    return this.logs.search(query);
  }

  /** A whole trace. Throws `NOT_FOUND`. */
  trace(traceId: string): Trace {
    return this.traces.trace(traceId);
  }

  /** Traces that match, newest first. */
  searchTraces(query: TraceQuery = {}): TraceSummary[] {
    return this.traces.search(query);
  }

  /** Everything known about a trace. Throws `NOT_FOUND`. See {@link correlate}. */
  correlate(traceId: string, options: CorrelateOptions = {}): Correlation {
    return correlate(traceId, { metrics: this.metrics, logs: this.logs, traces: this.traces }, options);
  }

  /** Services that behave unlike themselves. See {@link findAnomalies}. */
  anomalies(options: AnomalyOptions & { readonly at?: number } = {}): Promise<Anomaly[]> {
    const merged = { random: this.#random, ...this.#anomalyOptions, ...options };
    return findAnomalies(this.engine, options.at ?? this.#clock.now(), merged);
  }

  /** The current values of all series, and of this store itself, as a `/metrics` page. */
  prometheusText(): string {
    const now = this.#clock.now();
    const own = ownMetrics(
      this.metrics.stats(),
      this.logs.count(),
      this.traces.count(),
      this.alerts.alerts(),
      now,
    );
    const current = [...this.metrics.latest()].filter((sample) => sample.at > now - LOOKBACK_MS);
    return writeExposition(
      [...current, ...own.samples],
      new Map([...this.metrics.metadata, ...own.metadata]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Without the entries that are `undefined`, which exact optional properties do not take. */
function given<K extends string>(
  options: Readonly<Record<K, number | undefined>>,
): Partial<Record<K, number>> {
  const out: Partial<Record<K, number>> = {};
  for (const key in options) {
    const value = options[key];
    if (value !== undefined) out[key] = value;
  }
  return out;
}

function outcome(accepted: number, reasons: readonly string[]): IngestResult {
  const distinct = [...new Set(reasons)];
  const more = distinct.length > MAX_REASONS ? `; and ${distinct.length - MAX_REASONS} other reasons` : '';
  return { accepted, rejected: reasons.length, message: distinct.slice(0, MAX_REASONS).join('; ') + more };
}
