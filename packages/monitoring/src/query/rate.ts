// rate, increase, delta, irate, idelta: slopes with Prometheus' extrapolation and counter resets.

import type { RangeSeries } from './value.ts';

/**
 * rate(), increase() and delta(): the change over the range, extrapolated to its borders.
 *
 * Source: Prometheus `extrapolatedRate`. The samples rarely lie on the borders of the range, so the change between the
 * first and the last is stretched: to the border when the distance to it is at most 1.1 average sample intervals, else
 * by half an interval (the series probably begins or ends there). A counter is never stretched below zero.
 */
export function extrapolatedChange(
  series: RangeSeries,
  start: number,
  end: number,
  kind: 'rate' | 'increase' | 'delta',
): number | undefined {
  const { times, values, from, to } = series;
  const intervals = to - from - 1;
  if (intervals < 1) return undefined;
  const first = values[from] ?? Number.NaN;
  const firstTime = times[from] ?? 0;
  const lastTime = times[to - 1] ?? 0;
  const counter = kind !== 'delta';
  let change = (values[to - 1] ?? Number.NaN) - first;
  if (counter) {
    for (let index = from + 1; index < to; index++) {
      const before = values[index - 1] ?? Number.NaN;
      // A counter that went down has begun again from zero: what it had counted before is added.
      if ((values[index] ?? Number.NaN) < before) change += before;
    }
  }
  const sampledSeconds = (lastTime - firstTime) / 1000;
  const average = sampledSeconds / intervals;
  const threshold = average * 1.1;
  let toStart = (firstTime - start) / 1000;
  let toEnd = (end - lastTime) / 1000;
  if (toStart >= threshold) toStart = average / 2;
  if (counter && change > 0 && first >= 0) toStart = Math.min(toStart, sampledSeconds * (first / change));
  if (toEnd >= threshold) toEnd = average / 2;
  const factor = (sampledSeconds + toStart + toEnd) / sampledSeconds;
  return change * (kind === 'rate' ? factor / ((end - start) / 1000) : factor);
}

/** irate() and idelta(): the change between the last two samples. */
export function instantChange(series: RangeSeries, perSecond: boolean): number | undefined {
  const { times, values, from, to } = series;
  if (to - from < 2) return undefined;
  const last = values[to - 1] ?? Number.NaN;
  const before = values[to - 2] ?? Number.NaN;
  const interval = (times[to - 1] ?? 0) - (times[to - 2] ?? 0);
  if (interval === 0) return undefined;
  if (!perSecond) return last - before;
  return (last < before ? last : last - before) / (interval / 1000);
}

/** Least squares through the samples; `intercept` is the value at `at` (milliseconds). */
export function linearRegression(
  series: RangeSeries,
  at: number,
): { slope: number; intercept: number } | undefined {
  const { times, values, from, to } = series;
  const count = to - from;
  if (count < 2) return undefined;
  const first = values[from] ?? Number.NaN;
  let constant = true;
  let [sumX, sumY, sumXY, sumXX] = [0, 0, 0, 0];
  for (let index = from; index < to; index++) {
    const x = ((times[index] ?? 0) - at) / 1000;
    const y = values[index] ?? Number.NaN;
    constant &&= y === first;
    // Relative to the first value, so that large offsets do not eat the digits of the slope.
    sumX += x;
    sumY += y - first;
    sumXY += x * (y - first);
    sumXX += x * x;
  }
  if (constant)
    return Number.isFinite(first)
      ? { slope: 0, intercept: first }
      : { slope: Number.NaN, intercept: Number.NaN };
  const covariance = sumXY - (sumX * sumY) / count;
  const slope = covariance / (sumXX - (sumX * sumX) / count);
  return { slope, intercept: first + sumY / count - (slope * sumX) / count };
}
