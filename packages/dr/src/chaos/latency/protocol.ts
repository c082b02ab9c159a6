// What the latency injector and its helper process say to each other: JSON lines over stdin and stdout.

import { z } from 'zod';

/** What the helper is to do; its only command-line argument, as JSON. */
export interface HelperTask {
  readonly faultId: string;
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly existing: 'reset' | 'keep';
  readonly ttlMs: number;
  /** The target's process: once it is gone there is nothing left to pass on. */
  readonly targetPid?: number | undefined;
  readonly routes: readonly {
    readonly hook: 'in' | 'out';
    readonly address?: string | undefined;
    readonly port: number;
    readonly upstream: string;
  }[];
}

/** What the helper says. */
export type HelperSaid =
  | { readonly said: 'installed' }
  | { readonly said: 'failed'; readonly message: string }
  | {
      readonly said: 'stats';
      readonly connections: number;
      readonly chunks: number;
      readonly meanDelayMs: number;
    }
  | { readonly said: 'rtt'; readonly when: 'baseline' | 'during'; readonly rttMs: number }
  | { readonly said: 'removed'; readonly because: string };

/** Parses the helper's argument. */
export const helperTask: z.ZodType<HelperTask> = z.strictObject({
  faultId: z.string(),
  latencyMs: z.number(),
  jitterMs: z.number(),
  existing: z.enum(['reset', 'keep']),
  ttlMs: z.number(),
  targetPid: z.number().optional(),
  routes: z.array(
    z.strictObject({
      hook: z.enum(['in', 'out']),
      address: z.string().optional(),
      port: z.number(),
      upstream: z.string(),
    }),
  ),
});

/** Parses a line of the helper. */
export const helperSaid: z.ZodType<HelperSaid> = z.discriminatedUnion('said', [
  z.object({ said: z.literal('installed') }),
  z.object({ said: z.literal('failed'), message: z.string() }),
  z.object({
    said: z.literal('stats'),
    connections: z.number(),
    chunks: z.number(),
    meanDelayMs: z.number(),
  }),
  z.object({ said: z.literal('rtt'), when: z.enum(['baseline', 'during']), rttMs: z.number() }),
  z.object({ said: z.literal('removed'), because: z.string() }),
]);

/**
 * What the injector says, one word a line: `renew` the lease, `observe` (answered by `stats` and `rtt`), `remove`. The end
 * of stdin means that the injector is gone, hence `remove`.
 */
export type HelperWord = 'renew' | 'observe' | 'remove';
