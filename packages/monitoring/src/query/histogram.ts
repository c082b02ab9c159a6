// histogram_quantile and histogram_fraction over classic histograms (`_bucket` series with `le`).

/** A cumulative bucket. */
export interface Bucket {
  readonly upperBound: number;
  readonly count: number;
}

/** Counts that differ by less than this, relatively, are equal: rates of equal counters differ in the last digits. */
const SMALL_DIFFERENCE = 1e-12;

/** The q-quantile of a classic histogram, linear inside a bucket. Source: Prometheus `BucketQuantile`. */
export function bucketQuantile(q: number, unsorted: readonly Bucket[]): number {
  if (Number.isNaN(q)) return Number.NaN;
  if (q < 0) return Number.NEGATIVE_INFINITY;
  if (q > 1) return Number.POSITIVE_INFINITY;
  const buckets = prepare(unsorted, true);
  const last = buckets?.at(-1);
  if (buckets === undefined || last === undefined || buckets.length < 2 || last.count === 0)
    return Number.NaN;
  const rank = q * last.count;
  let index = buckets.findIndex((bucket) => bucket.count >= rank);
  if (index < 0) index = buckets.length - 1;
  const bucket = buckets[index] ?? last;
  const before = buckets[index - 1];
  // Nothing is known inside the bucket that reaches to infinity but where it begins.
  if (index === buckets.length - 1) return before?.upperBound ?? Number.NaN;
  if (before === undefined) {
    return bucket.upperBound <= 0 ? bucket.upperBound : bucket.upperBound * (rank / bucket.count);
  }
  const share = (rank - before.count) / (bucket.count - before.count);
  return before.upperBound + (bucket.upperBound - before.upperBound) * share;
}

/** The share of observations between two values. Source: Prometheus `BucketFraction`. */
export function bucketFraction(lower: number, upper: number, unsorted: readonly Bucket[]): number {
  const buckets = prepare(unsorted, false);
  const total = buckets?.at(-1)?.count;
  if (
    buckets === undefined ||
    total === undefined ||
    total === 0 ||
    Number.isNaN(lower) ||
    Number.isNaN(upper)
  )
    return Number.NaN;
  if (lower >= upper) return 0;
  return (rankAt(upper, buckets, total) - rankAt(lower, buckets, total)) / total;
}

function rankAt(value: number, buckets: readonly Bucket[], total: number): number {
  let rank = 0;
  const first = buckets[0]?.upperBound ?? 0;
  let begin = first <= 0 ? Number.NEGATIVE_INFINITY : 0;
  for (const { upperBound, count } of buckets) {
    if (begin >= value) return rank;
    if (value < upperBound) {
      if (begin === Number.NEGATIVE_INFINITY) return count;
      return rank + (count - rank) * ((value - begin) / (upperBound - begin));
    }
    rank = count;
    begin = upperBound;
  }
  return total;
}

/** Sorted, equal bounds merged, monotonic; `undefined` when the bucket to infinity is missing. */
function prepare(unsorted: readonly Bucket[], monotonic: boolean): Bucket[] | undefined {
  const out: Bucket[] = [];
  for (const bucket of unsorted.toSorted((a, b) => a.upperBound - b.upperBound || 0)) {
    const last = out.at(-1);
    if (last?.upperBound === bucket.upperBound)
      out[out.length - 1] = { ...last, count: last.count + bucket.count };
    else out.push(bucket);
  }
  if (out.at(-1)?.upperBound !== Number.POSITIVE_INFINITY) return undefined;
  if (!monotonic) return out;
  let highest = out[0]?.count ?? 0;
  return out.map((bucket) => {
    // Buckets are scraped or rated one by one, so a higher one may be short of a lower one for a moment.
    if (bucket.count <= highest || almostEqual(bucket.count, highest)) return { ...bucket, count: highest };
    highest = bucket.count;
    return bucket;
  });
}

function almostEqual(a: number, b: number): boolean {
  if (a === b) return true;
  const difference = Math.abs(a - b);
  const size = Math.abs(a) + Math.abs(b);
  return size === 0 ? false : difference / Math.min(size, Number.MAX_VALUE) < SMALL_DIFFERENCE;
}
