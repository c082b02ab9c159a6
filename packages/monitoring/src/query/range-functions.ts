// Functions that turn the samples of a range into one number.

import { CompensatedSum, mean, quantile, variance } from './arithmetic.ts';
import { extrapolatedChange, instantChange, linearRegression } from './rate.ts';
import type { Matrix, RangeSeries } from './value.ts';

/** What a range function may look at beside the samples. */
export interface RangeContext {
  /** The range: after `start`, up to and including `end`, in milliseconds. */
  readonly start: number;
  readonly end: number;
  /** The time of evaluation, which `offset` and `@` do not move. */
  readonly now: number;
  /** The scalar argument, where the function has one. */
  readonly scalar: number;
}

type RangeFunction = (series: RangeSeries, context: RangeContext) => number | undefined;

function* samples({ values, from, to }: RangeSeries): Iterable<number> {
  for (let index = from; index < to; index++) yield values[index] ?? Number.NaN;
}

function sum(series: RangeSeries): number {
  const total = new CompensatedSum();
  for (const value of samples(series)) total.add(value);
  return total.value;
}

function extreme(better: (value: number, best: number) => boolean): RangeFunction {
  return ({ values, from, to }) => {
    let best = values[from] ?? Number.NaN;
    for (let index = from + 1; index < to; index++) {
      const value = values[index] ?? Number.NaN;
      if (better(value, best) || Number.isNaN(best)) best = value;
    }
    return best;
  };
}

function countPairs(hit: (before: number, value: number) => boolean): RangeFunction {
  return ({ values, from, to }) => {
    let count = 0;
    for (let index = from + 1; index < to; index++) {
      if (hit(values[index - 1] ?? Number.NaN, values[index] ?? Number.NaN)) count++;
    }
    return count;
  };
}

/** By name. A function answers `undefined` when the range has too few samples for it. */
const RANGE_FUNCTIONS: ReadonlyMap<string, RangeFunction> = new Map<string, RangeFunction>([
  ['rate', (s, c) => extrapolatedChange(s, c.start, c.end, 'rate')],
  ['increase', (s, c) => extrapolatedChange(s, c.start, c.end, 'increase')],
  ['delta', (s, c) => extrapolatedChange(s, c.start, c.end, 'delta')],
  ['irate', (s) => instantChange(s, true)],
  ['idelta', (s) => instantChange(s, false)],
  ['sum_over_time', sum],
  ['avg_over_time', (s) => mean(samples(s))],
  ['count_over_time', ({ from, to }) => to - from],
  ['min_over_time', extreme((value, best) => value < best)],
  ['max_over_time', extreme((value, best) => value > best)],
  ['last_over_time', ({ values, to }) => values[to - 1]],
  ['present_over_time', () => 1],
  ['stddev_over_time', (s) => Math.sqrt(variance(samples(s)))],
  ['stdvar_over_time', (s) => variance(samples(s))],
  ['quantile_over_time', (s, c) => quantile(c.scalar, [...samples(s)])],
  [
    'changes',
    countPairs((before, value) => value !== before && !(Number.isNaN(value) && Number.isNaN(before))),
  ],
  ['resets', countPairs((before, value) => value < before)],
  ['deriv', (s) => linearRegression(s, s.times[s.from] ?? 0)?.slope],
  ['predict_linear', predictLinear],
]);

function predictLinear(series: RangeSeries, context: RangeContext): number | undefined {
  const line = linearRegression(series, context.now);
  return line === undefined ? undefined : line.slope * context.scalar + line.intercept;
}

/** Applies a range function by name; `undefined` when there is none of that name. */
export function applyRangeFunction(
  name: string,
  matrix: Matrix,
  now: number,
  scalar: number,
): { series: RangeSeries; value: number }[] | undefined {
  const compute = RANGE_FUNCTIONS.get(name);
  if (compute === undefined) return undefined;
  const context: RangeContext = { start: matrix.start, end: matrix.end, now, scalar };
  const out: { series: RangeSeries; value: number }[] = [];
  for (const series of matrix.series) {
    const value = series.to > series.from ? compute(series, context) : undefined;
    if (value !== undefined) out.push({ series, value });
  }
  return out;
}
