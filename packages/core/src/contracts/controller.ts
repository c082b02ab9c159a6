// Controllers: a pure planner decides, a thin executor makes each step true by compare-and-set.

import type { Instant } from '../ports/clock.ts';

/** One thing to make true. Data only: it can be shown, logged, compared and replayed. */
export interface Step<Op extends string = string, Payload = unknown> {
  readonly op: Op;
  /** `kind/namespace/name` of the object it changes. */
  readonly object: string;
  /** The step is void when the object's generation has moved on. */
  readonly ifGeneration?: number;
  /** Why, as a sentence for people: `heptad events` and `explain` print it. */
  readonly because: string;
  readonly payload: Payload;
}

/** Pure, total and deterministic; `plan(apply(plan(s))) = []`. */
export interface Planner<Snapshot, S extends Step = Step> {
  plan(snapshot: Snapshot, now: Instant): S[];
}
