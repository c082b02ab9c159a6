// The questions the charts ask (PromQL), and the answers as columns for drawing. Pure.

import type { QueryAnswer } from './types.ts';

/** A stretch of time up to now. */
export interface TimeRange {
  readonly label: string;
  readonly seconds: number;
}

/** What one can choose. */
export const RANGES: readonly TimeRange[] = [
  { label: '5 min', seconds: 300 },
  { label: '15 min', seconds: 900 },
  { label: '1 h', seconds: 3_600 },
  { label: '6 h', seconds: 21_600 },
  { label: '24 h', seconds: 86_400 },
];

/** Points a chart gets: about one every three pixels. */
const POINTS = 200;
/** Metrics arrive every few seconds; a finer step draws stairs. */
const MIN_STEP_SECONDS = 5;
/** A rate needs several samples in its window. */
const MIN_RATE_WINDOW_SECONDS = 30;

const COUNT = 'http_server_request_duration_seconds_count';
const BUCKET = 'http_server_request_duration_seconds_bucket';
/** The service label is that of the process that measured; the service called is `server_address`. */
const BY_PROXY = 'service="heptad-proxy"';
/** The platform's own API is a service of the mesh too; its watches last for minutes and would dwarf everything else. */
const NOT_OURS = 'server_address!="heptad"';

/** Distance of the points of a range, in seconds. */
export function stepOf(range: TimeRange): number {
  return Math.max(MIN_STEP_SECONDS, Math.ceil(range.seconds / POINTS));
}

/** A label's value as PromQL text. */
export function quoted(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

/** The four charts' queries, for one service or (undefined) each. */
export function trafficQueries(
  service: string | undefined,
  range: TimeRange,
): Record<'rate' | 'p50' | 'p99' | 'errors', string> {
  const window = `[${Math.max(MIN_RATE_WINDOW_SECONDS, stepOf(range) * 4)}s]`;
  const only =
    service === undefined ? `${BY_PROXY},${NOT_OURS}` : `${BY_PROXY},server_address=${quoted(service)}`;
  const rate = `sum by (server_address) (rate(${COUNT}{${only}}${window}))`;
  const failed = `sum by (server_address) (rate(${COUNT}{${only},http_response_status_code=~"5.."}${window}))`;
  const quantile = (q: number): string =>
    `histogram_quantile(${q}, sum by (le, server_address) (rate(${BUCKET}{${only}}${window})))`;
  // A service without failures has no failure series: `rate * 0` gives it a zero line instead of a gap.
  return {
    rate,
    p50: quantile(0.5),
    p99: quantile(0.99),
    errors: `(${failed} or ${rate} * 0) / (${rate} > 0)`,
  };
}

/** The path of a range query ending at `nowMs`, its ends on multiples of the step so that redrawing does not shimmer. */
export function rangeQueryPath(query: string, range: TimeRange, nowMs: number): string {
  const step = stepOf(range);
  const end = Math.floor(nowMs / 1000 / step) * step;
  const parameters = { query, start: String(end - range.seconds), end: String(end), step: String(step) };
  return `/api/v1/monitoring/query?${new URLSearchParams(parameters)}`;
}

/** One line of a chart. */
export interface Series {
  readonly label: string;
  readonly values: readonly (number | null)[];
}

/** Columns: times in seconds, and each series with a value or a gap at each time. */
export interface Columns {
  readonly times: readonly number[];
  readonly series: readonly Series[];
}

/** A matrix as columns. `labelOf` names a series. Series come in the order of their names. */
export function toColumns(
  answers: readonly {
    readonly answer: QueryAnswer;
    readonly labelOf: (metric: Readonly<Record<string, string>>) => string;
  }[],
): Columns {
  const points = new Map<string, Map<number, number>>();
  const times = new Set<number>();
  for (const { answer, labelOf } of answers) {
    for (const { metric, values = [] } of answer.data.result) {
      const label = labelOf(metric);
      const series = points.get(label) ?? new Map<number, number>();
      points.set(label, series);
      for (const [time, text] of values) {
        times.add(time);
        series.set(time, Number(text));
      }
    }
  }
  const sorted = [...times].sort((a, b) => a - b);
  const series = [...points].map(([label, at]) => ({
    label,
    values: sorted.map((time) => finiteOrGap(at.get(time))),
  }));
  return { times: sorted, series: series.sort((a, b) => (a.label < b.label ? -1 : 1)) };
}

/** The newest value of a series; undefined when there is none. */
export function lastOf(series: Series): number | undefined {
  return series.values.findLast((value) => value !== null) ?? undefined;
}

/** An instant vector as label value -> number. */
export function toLookup(answer: QueryAnswer, label: string): Map<string, number> {
  const lookup = new Map<string, number>();
  for (const { metric, value } of answer.data.result) {
    const key = metric[label];
    if (key !== undefined && value !== undefined) lookup.set(key, Number(value[1]));
  }
  return lookup;
}

// NaN is what a quantile of nothing is: a gap, not a zero.
function finiteOrGap(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}
