// Reading what a query needs, once per selector, before evaluation begins.

import type { Matcher } from '../metrics/matcher.ts';
import { isStale } from '../metrics/stale.ts';
import type { SeriesData } from '../metrics/store-types.ts';
import type { Expression, MatrixSelector, TimeShift, VectorSelector } from './ast.ts';
import type { Element, Matrix, RangeSeries } from './value.ts';

/** Where samples come from: a {@link MetricStore}, or anything else that answers this. */
export interface SampleSource {
  /** Series that match, with their samples from `start` to `end`, both included, oldest first. */
  select(matchers: readonly Matcher[], start: number, end: number, maxSamples: number): SeriesData[];
}

/** The times of a query, in milliseconds. */
export interface QueryTimes {
  readonly start: number;
  readonly end: number;
  readonly lookbackMs: number;
}

/** The time a selector looks at when it is evaluated at `now`. */
export function shiftTime(shift: TimeShift, now: number, times: QueryTimes): number {
  const { at, offsetMs } = shift;
  if (at === undefined) return now - offsetMs;
  return (at.kind === 'time' ? at.timeMs : at.kind === 'start' ? times.start : times.end) - offsetMs;
}

/** The samples of every selector of one query. */
export class Selection {
  readonly #source: SampleSource;
  readonly #times: QueryTimes;
  readonly #data = new Map<VectorSelector, SeriesData[]>();
  #budget: number;

  constructor(source: SampleSource, times: QueryTimes, maxSamples: number) {
    this.#source = source;
    this.#times = times;
    this.#budget = maxSamples;
  }

  /** Reads for all selectors below `node`, which will be evaluated from `start` to `end`. */
  load(node: Expression, start: number, end: number): void {
    switch (node.kind) {
      case 'vector-selector':
        this.#read(node, start, end, this.#times.lookbackMs, false);
        return;
      case 'matrix-selector':
        this.#read(node.selector, start, end, node.rangeMs, true);
        return;
      case 'subquery':
        this.load(
          node.expression,
          shiftTime(node, start, this.#times) - node.rangeMs,
          shiftTime(node, end, this.#times),
        );
        return;
      case 'parenthesis':
        this.load(node.inner, start, end);
        return;
      case 'unary':
        this.load(node.operand, start, end);
        return;
      case 'binary':
        this.load(node.left, start, end);
        this.load(node.right, start, end);
        return;
      case 'aggregation':
        this.load(node.expression, start, end);
        if (node.parameter !== undefined) this.load(node.parameter, start, end);
        return;
      case 'call':
        for (const argument of node.arguments) this.load(argument, start, end);
        return;
      case 'number':
      case 'string':
        return;
    }
  }

  #read(selector: VectorSelector, start: number, end: number, reachMs: number, range: boolean): void {
    const from = shiftTime(selector, start, this.#times) - reachMs;
    const to = shiftTime(selector, end, this.#times);
    const found = this.#source.select(selector.matchers, from, to, this.#budget);
    const data = range ? found.map(withoutStale).filter((series) => series.times.length > 0) : found;
    for (const series of data) this.#budget -= series.times.length;
    this.#data.set(selector, data);
  }

  /** The newest sample of each series that is not older than the lookback, as of `now`. */
  instant(selector: VectorSelector, now: number): Element[] {
    const at = shiftTime(selector, now, this.#times);
    const out: Element[] = [];
    for (const { labels, times, values } of this.#data.get(selector) ?? []) {
      const index = upperBound(times, at) - 1;
      const sampledAt = times[index];
      const value = values[index];
      if (sampledAt === undefined || value === undefined) continue;
      if (sampledAt <= at - this.#times.lookbackMs || isStale(value)) continue;
      out.push({ labels, value, sampledAt });
    }
    return out;
  }

  /** The samples after `now - range` up to and including `now`. */
  range(node: MatrixSelector, now: number): Matrix {
    const end = shiftTime(node.selector, now, this.#times);
    const start = end - node.rangeMs;
    const series: RangeSeries[] = [];
    for (const { labels, times, values } of this.#data.get(node.selector) ?? []) {
      const from = upperBound(times, start);
      const to = upperBound(times, end);
      if (to > from) series.push({ labels, times, values, from, to });
    }
    return { series, start, end };
  }
}

function withoutStale(series: SeriesData): SeriesData {
  if (!series.values.some(isStale)) return series;
  const keep: number[] = [];
  series.values.forEach((value, index) => {
    if (!isStale(value)) keep.push(index);
  });
  return {
    labels: series.labels,
    times: Float64Array.from(keep, (index) => series.times[index] ?? 0),
    values: Float64Array.from(keep, (index) => series.values[index] ?? 0),
  };
}

/** Index of the first time after `limit`. */
function upperBound(times: Float64Array, limit: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? 0) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
