// Delta points to running totals, which is what PromQL's rate() needs.

import { type Labels, labelKey } from '../metrics/labels.ts';

/** Totals kept at once; the one unused longest is dropped, and its series begins again as after a restart. */
const MAX_TOTALS = 100_000;

/** What of a point decides whether it continues the total. */
export interface DeltaPoint {
  readonly startNanos: bigint;
  readonly timeNanos: bigint;
}

/** Running totals of delta series. Held in memory: after a restart they begin at zero, as a counter may. */
export class DeltaAccumulator {
  readonly #totals = new Map<string, { total: number; until: bigint }>();

  /** Adds a point; answers the total, or `undefined` for a point that was counted already. */
  add(labels: Labels, point: DeltaPoint, value: number): number | undefined {
    const key = labelKey(labels);
    const known = this.#totals.get(key);
    // A resent or overlapping point would be counted twice.
    if (known !== undefined && point.timeNanos <= known.until) return undefined;
    const total = (known?.total ?? 0) + value;
    this.#totals.delete(key);
    this.#totals.set(key, { total, until: point.timeNanos });
    if (this.#totals.size > MAX_TOTALS) {
      const [oldest] = this.#totals.keys();
      if (oldest !== undefined) this.#totals.delete(oldest);
    }
    return total;
  }
}
