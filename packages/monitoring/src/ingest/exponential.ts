// Exponential histograms to explicit buckets, for classic `_bucket` series.

import type { ExponentialPoint, HistogramPoint } from './otlp-model.ts';

/** Scale of the buckets we make: bounds at the powers of 2^(1/4), 19% apart, which bounds a quantile's error. */
const TARGET_SCALE = 2;
/** Finest and coarsest bound, as index at the target scale: 2^-30 to 2^30, a nanosecond to a gigabyte. */
const MIN_INDEX = -30 * 2 ** TARGET_SCALE;
const MAX_INDEX = 30 * 2 ** TARGET_SCALE;

/**
 * The same observations in buckets with bounds at powers of 2^(1/4): the occupied ones and one below, so that a quantile
 * is interpolated inside a narrow bucket. As buckets are cumulative, a bound that is missing in one point and there in
 * the next costs nothing but the interpolation between its neighbours.
 *
 * A bucket of a finer or equal scale lies inside one of ours exactly (OTLP's perfect subsetting), one of a coarser
 * scale is counted at its upper bound.
 */
export function exponentialToExplicit(point: ExponentialPoint): HistogramPoint {
  const counts = new Map<number, number>();
  const shift = point.scale - TARGET_SCALE;
  point.positive.counts.forEach((count, position) => {
    if (count === 0) return;
    // Bucket i covers (base^i, base^(i+1)]; the index of its upper bound at the target scale:
    const upper = Math.ceil((point.positive.offset + position + 1) / 2 ** shift);
    const index = Math.min(MAX_INDEX + 1, Math.max(MIN_INDEX, upper));
    counts.set(index, (counts.get(index) ?? 0) + count);
  });
  // Values at or below zero are below the first bound.
  const below = point.zeroCount + point.negative.counts.reduce((sum, count) => sum + count, 0);
  const used = [...counts.keys()].filter((index) => index <= MAX_INDEX);
  const from = used.length === 0 ? 0 : Math.min(...used) - 1;
  const to = used.length === 0 ? -1 : Math.max(...used);
  const bounds: number[] = [0];
  const out: number[] = [below];
  for (let index = from; index <= to; index++) {
    bounds.push(2 ** (index / 2 ** TARGET_SCALE));
    out.push(counts.get(index) ?? 0);
  }
  out.push(counts.get(MAX_INDEX + 1) ?? 0);
  const { attributes, startNanos, timeNanos, count, sum, absent } = point;
  return { attributes, startNanos, timeNanos, count, sum, absent, counts: out, bounds };
}
