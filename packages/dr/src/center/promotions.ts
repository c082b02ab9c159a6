// The record of promotions: a replicated key, the first write of every reign. It is how every centre knows of past failovers.

import type { StateStore } from '@heptad/core';
import { z } from 'zod';

/** Replicated key of the {@link Promotion}s. */
export const PROMOTIONS_KEY = '/dr/promotions';
/** Promotions remembered. */
const PROMOTIONS_MAX = 50;

/** One change of primary. */
export interface Promotion {
  readonly generation: number;
  readonly primary: string;
  readonly from?: string | undefined;
  /** Wall time. */
  readonly at: number;
  /** `first`: of a new topology; `failover`: by itself; `switchover`: planned; `manual`: promoted by hand; `restart`. */
  readonly kind: 'first' | 'failover' | 'switchover' | 'manual' | 'restart';
  readonly because: string;
}

const schema: z.ZodType<Promotion[]> = z.array(
  z.object({
    generation: z.number(),
    primary: z.string(),
    from: z.string().optional(),
    at: z.number(),
    kind: z.enum(['first', 'failover', 'switchover', 'manual', 'restart']),
    because: z.string(),
  }),
);

/** Promotions known to a store, oldest first. */
export async function readPromotions(store: StateStore): Promise<readonly Promotion[]> {
  const found = (await store.range({ key: PROMOTIONS_KEY })).kvs[0];
  return found === undefined ? [] : schema.parse(JSON.parse(found.value));
}

/** Adds one; resolves with the revision it has. */
export async function addPromotion(store: StateStore, promotion: Promotion): Promise<number> {
  const list = [...(await readPromotions(store)), promotion].slice(-PROMOTIONS_MAX);
  const { revision } = await store.txn({
    compare: [],
    success: [{ op: 'put', key: PROMOTIONS_KEY, value: JSON.stringify(list) }],
  });
  return revision;
}
