// anomalies(): which services behave unlike themselves, by vectors of their metrics.

import { type Random, systemRandom } from '@heptad/core';
import type { QueryEngine } from '../query/engine.ts';
import { parseFloatText } from '../query/value.ts';
import { IsolationForest } from './isolation-forest.ts';

/** The metrics of which a service's vector is made: name -> PromQL that yields one series per `service`. */
export type VectorQueries = Readonly<Record<string, string>>;

const REQUESTS = 'http_server_request_duration_seconds';

/** Renames the label by which a proxy or an agent names the service that it measured. */
function asService(label: string, expression: string): string {
  return `label_replace(${expression}, "service", "$1", "${label}", "(.+)")`;
}

/** Of each service what the node proxies saw of it, or what it says itself when no proxy stands before it. */
function ofRequests(build: (selector: string, by: string) => string): string {
  const seen = asService('server_address', build('service="heptad-proxy"', 'server_address'));
  return `max by (service) (${seen} or ${build('service!="heptad-proxy"', 'service')})`;
}

/** What Heptad's proxies and agents export, as OpenTelemetry's semantic conventions name it. */
export const DEFAULT_VECTOR_QUERIES: VectorQueries = {
  rate: ofRequests((selector, by) => `sum by (${by}) (rate(${REQUESTS}_count{${selector}}[2m]))`),
  errors: ofRequests(
    (selector, by) =>
      `sum by (${by}) (rate(${REQUESTS}_count{${selector}, http_response_status_code=~"5.."}[2m]))`,
  ),
  latencyP99: ofRequests(
    (selector, by) =>
      `histogram_quantile(0.99, sum by (${by}, le) (rate(${REQUESTS}_bucket{${selector}}[2m])))`,
  ),
  cpu: `max by (service) (${asService('container_service', 'sum by (container_service) (rate(container_cpu_seconds_total[2m]))')})`,
  memory: `max by (service) (${asService('container_service', 'sum by (container_service) (container_memory_bytes)')})`,
};

/** Options of {@link findAnomalies}. */
export interface AnomalyOptions {
  readonly queries?: VectorQueries;
  /** History that counts as the service's own behaviour, in milliseconds. Default 1 hour. */
  readonly historyMs?: number;
  /** Distance of the vectors, in milliseconds. Default 15 seconds. */
  readonly stepMs?: number;
  /** The newest part that is judged against the rest. Default 2 minutes. */
  readonly recentMs?: number;
  /** A score at or above is an anomaly. Default 0.6. */
  readonly threshold?: number;
  readonly random?: Random;
}

/** How a metric of an anomalous service stands against its history. */
export interface MetricDeviation {
  readonly metric: string;
  readonly value: number;
  readonly median: number;
  /** Distance from the median in median absolute deviations, signed; 1.4826 MAD is a standard deviation. */
  readonly deviations: number;
}

/** A service whose recent vectors are unlike its history. */
export interface Anomaly {
  readonly service: string;
  readonly at: number;
  /** Isolation forest score of the worst recent vector, 0 to 1. */
  readonly score: number;
  /** Which metrics make it stand out, the most deviating first. */
  readonly because: readonly MetricDeviation[];
}

const DEFAULT_HISTORY_MS = 60 * 60 * 1000;
const DEFAULT_STEP_MS = 15_000;
const DEFAULT_RECENT_MS = 2 * 60 * 1000;
const DEFAULT_THRESHOLD = 0.6;
/** Fewer vectors than this say nothing about what is usual. */
const MIN_HISTORY = 32;
/** A robust standard deviation is this many median absolute deviations. */
const MAD_TO_DEVIATION = 1.4826;
/** A recent vector also needs one metric this many robust deviations away: on flat data a forest isolates noise. */
const MIN_DEVIATIONS = 5;

/** One vector at one time. */
interface Observation {
  readonly at: number;
  readonly vector: readonly number[];
}

/**
 * Judges each service's last minutes against its last hour.
 *
 * The forest is grown from all vectors, as its paper has it: what is to stand out must be among what is cut, for a forest
 * cannot tell how far outside its data a point lies. The medians are those of the history alone. A forest is a weak
 * detector of single metrics, so a service is reported when its score is high and one metric also deviates strongly.
 */
export async function findAnomalies(
  engine: QueryEngine,
  now: number,
  options: AnomalyOptions = {},
): Promise<Anomaly[]> {
  const queries = options.queries ?? DEFAULT_VECTOR_QUERIES;
  const names = Object.keys(queries);
  const recentMs = options.recentMs ?? DEFAULT_RECENT_MS;
  const anomalies: Anomaly[] = [];
  for (const [service, observations] of await observe(engine, queries, now, options)) {
    const history = observations.filter((observation) => observation.at <= now - recentMs);
    const recent = observations.filter((observation) => observation.at > now - recentMs);
    if (history.length < MIN_HISTORY || recent.length === 0) continue;
    const anomaly = judge(service, names, history, recent, options);
    if (anomaly !== undefined) anomalies.push(anomaly);
  }
  return anomalies.sort((a, b) => b.score - a.score);
}

function judge(
  service: string,
  names: readonly string[],
  history: readonly Observation[],
  recent: readonly Observation[],
  options: AnomalyOptions,
): Anomaly | undefined {
  const baselines = names.map((_, index) => baselineOf(history.map(({ vector }) => vector[index] ?? 0)));
  // In deviations, or the metric with the largest numbers would get most of the range to itself.
  const scaled = (vector: readonly number[]): number[] =>
    vector.map((value, index) => deviations(value, baselines[index] ?? { median: 0, scale: 1 }));
  const forest = IsolationForest.fit(
    [...history, ...recent].map(({ vector }) => scaled(vector)),
    { random: options.random ?? systemRandom },
  );
  let worst: Anomaly | undefined;
  for (const { at, vector } of recent) {
    const score = forest.score(scaled(vector));
    if (worst !== undefined && score <= worst.score) continue;
    const because = names
      .map((metric, index) => ({
        metric,
        value: vector[index] ?? 0,
        median: baselines[index]?.median ?? 0,
        deviations: scaled(vector)[index] ?? 0,
      }))
      .filter((one) => Math.abs(one.deviations) >= MIN_DEVIATIONS)
      .sort((a, b) => Math.abs(b.deviations) - Math.abs(a.deviations));
    worst = { service, at, score, because };
  }
  if (worst === undefined || worst.because.length === 0) return undefined;
  return worst.score >= (options.threshold ?? DEFAULT_THRESHOLD) ? worst : undefined;
}

interface Baseline {
  readonly median: number;
  readonly scale: number;
}

function baselineOf(values: readonly number[]): Baseline {
  const median = medianOf(values);
  const mad = medianOf(values.map((value) => Math.abs(value - median))) * MAD_TO_DEVIATION;
  // A constant metric has no spread; a hundredth of its size then counts as one deviation.
  return { median, scale: mad > 0 ? mad : Math.max(Math.abs(median) / 100, Number.EPSILON) };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function deviations(value: number, { median, scale }: Baseline): number {
  return (value - median) / scale;
}

/** The vectors of each service at common times; a metric that a service does not have at all is constant zero. */
async function observe(
  engine: QueryEngine,
  queries: VectorQueries,
  now: number,
  options: AnomalyOptions,
): Promise<Map<string, Observation[]>> {
  const step = options.stepMs ?? DEFAULT_STEP_MS;
  const start = now - (options.historyMs ?? DEFAULT_HISTORY_MS);
  const services = new Map<string, Map<number, number[]>>();
  const names = Object.keys(queries);
  for (const [index, name] of names.entries()) {
    const data = await engine.queryRange(queries[name] ?? '', { start, end: now, step });
    if (data.resultType !== 'matrix') continue;
    for (const { metric, values } of data.result) {
      const service = metric.service;
      if (service === undefined) continue;
      const times = services.get(service) ?? new Map<number, number[]>();
      services.set(service, times);
      for (const [seconds, text] of values) {
        const value = parseFloatText(text);
        if (!Number.isFinite(value)) continue;
        const at = Math.round(seconds * 1000);
        const vector = times.get(at) ?? names.map(() => 0);
        vector[index] = value;
        times.set(at, vector);
      }
    }
  }
  return new Map(
    [...services].map(([service, times]) => [
      service,
      [...times].map(([at, vector]) => ({ at, vector })).sort((a, b) => a.at - b.at),
    ]),
  );
}
