// correlate: one trace id to everything known about it, from all three signals.

import type { StoredLog } from './logs/log-types.ts';
import type { LogStore } from './logs/store.ts';
import { type Labels, METRIC_NAME } from './metrics/labels.ts';
import type { MetricStore } from './metrics/store.ts';
import type { SeriesData } from './metrics/store-types.ts';
import type { TraceStore } from './traces/store.ts';
import type { Trace } from './traces/trace-types.ts';

/** The stores that {@link correlate} joins. */
export interface CorrelationSources {
  readonly metrics: Pick<MetricStore, 'select'>;
  readonly logs: Pick<LogStore, 'ofTrace'>;
  readonly traces: Pick<TraceStore, 'trace'>;
}

/** A metric of a service around the time of the trace. */
export interface CorrelatedMetric {
  readonly name: string;
  readonly labels: Labels;
  /** `[milliseconds, value]`, oldest first. */
  readonly points: readonly (readonly [number, number])[];
}

/** A trace with the logs and metrics that belong to it. */
export interface Correlation {
  readonly traceId: string;
  readonly trace: Trace;
  /** Log records that carry the trace id, oldest first. */
  readonly logs: readonly StoredLog[];
  /** Metrics of the services of the trace, by service. */
  readonly metrics: Readonly<Record<string, readonly CorrelatedMetric[]>>;
  /** The time that the metrics cover, in milliseconds. */
  readonly window: { readonly start: number; readonly end: number };
}

/** Options of {@link correlate}. */
export interface CorrelateOptions {
  /** How far the metrics reach before and after the trace, in milliseconds. Default 60,000. */
  readonly marginMs?: number;
  /** Most metrics of one service. Default 50; histogram buckets are left out, their counts and sums stay. */
  readonly maxMetrics?: number;
}

const DEFAULT_MARGIN_MS = 60_000;
const DEFAULT_MAX_METRICS = 50;
/** Where a service is named: by itself, by the proxy that called it, by the agent that runs its containers. */
const SERVICE_LABELS = ['service', 'server_address', 'container_service'];
/** Samples read for one label of one service. */
const MAX_SAMPLES = 200_000;

/**
 * Joins the three signals on a trace id: the tree of spans, the log records with that id, and the metrics of the
 * services involved, a minute before and after.
 *
 * @throws `NOT_FOUND` when no span of the trace is stored.
 *
 * @example
 * ```ts
 * import { correlate, LogStore, MetricStore, TraceStore } from '@heptad/monitoring';
 *
 * await using metrics = new MetricStore();
 * await using logs = new LogStore();
 * await using traces = new TraceStore();
 * const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
 * const at = Date.now();
 * const rest = { kind: 'server', status: 'error', attributes: {}, events: [], links: [] } as const;
 * traces.append([{ ...rest, traceId, spanId: '00f067aa0ba902b7', service: 'orders', name: 'POST /orders', startedAt: at, durationMs: 31 }]);
 * logs.append([{ at, level: 'error', service: 'orders', body: 'out of stock', traceId }]);
 * await metrics.append([{ labels: { __name__: 'orders_failed_total', service: 'orders' }, at, value: 1 }]);
 *
 * const { trace, logs: lines, metrics: around } = correlate(traceId, { metrics, logs, traces });
 * console.log(trace.errorCount, lines[0]?.body, around['orders']?.[0]?.name); // 1 out of stock orders_failed_total
 * ```
 */
export function correlate(
  traceId: string,
  sources: CorrelationSources,
  options: CorrelateOptions = {},
): Correlation {
  const marginMs = options.marginMs ?? DEFAULT_MARGIN_MS;
  const maxMetrics = options.maxMetrics ?? DEFAULT_MAX_METRICS;
  const trace = sources.traces.trace(traceId);
  const logs = sources.logs.ofTrace(traceId);
  const window = {
    start: Math.floor(trace.startedAt - marginMs),
    end: Math.ceil(trace.startedAt + trace.durationMs + marginMs),
  };
  const services = new Set([...trace.services, ...logs.map((log) => log.service)]);
  const metrics: Record<string, CorrelatedMetric[]> = {};
  for (const service of [...services].sort())
    metrics[service] = metricsOf(service, sources, window, maxMetrics);
  return { traceId: trace.traceId, trace, logs, metrics, window };
}

function metricsOf(
  service: string,
  sources: CorrelationSources,
  window: Correlation['window'],
  maxMetrics: number,
): CorrelatedMetric[] {
  const found = new Map<Labels, SeriesData>();
  for (const label of SERVICE_LABELS) {
    const matchers = [
      { name: label, operator: '=', value: service },
      { name: 'le', operator: '=', value: '' },
    ] as const;
    for (const series of sources.metrics.select(matchers, window.start, window.end, MAX_SAMPLES)) {
      found.set(series.labels, series);
    }
  }
  return [...found.values()].slice(0, maxMetrics).map(({ labels, times, values }) => ({
    name: labels[METRIC_NAME] ?? '',
    labels,
    points: Array.from(times, (time, index): [number, number] => [time, values[index] ?? Number.NaN]),
  }));
}
