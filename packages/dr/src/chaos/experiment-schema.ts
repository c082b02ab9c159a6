// The experiment file's form: what may stand where, within which limits, and what it becomes.

import { parseDuration, parsePercent } from '@heptad/core';
import { z } from 'zod';
import type { Experiment, NetworkLatencyParams, PodFailureParams } from './experiment.ts';
import { parseThreshold } from './threshold.ts';

/** Longest time a scenario may hold a fault: chaos that lasts longer is an outage. */
export const SCENARIO_MAX_MS: number = 10 * 60_000;
/** Scenarios and metrics of one experiment; beyond that nobody can tell what caused what. */
export const EXPERIMENT_MAX_ITEMS = 50;

function quantity(
  parse: (value: string) => number,
  forms: string,
  limits: { min?: number; max?: number } = {},
) {
  return z.union([z.string(), z.number()]).transform((value, context) => {
    try {
      const parsed = parse(String(value));
      if (parsed < (limits.min ?? 0) || parsed > (limits.max ?? Number.POSITIVE_INFINITY)) {
        const range = `${limits.min ?? 0} ms to ${limits.max ?? '∞'} ms`;
        context.addIssue({ code: 'custom', message: `"${value}" is out of range: ${range}` });
        return z.NEVER;
      }
      return parsed;
    } catch {
      context.addIssue({ code: 'custom', message: `"${value}" is not understood: write ${forms}` });
      return z.NEVER;
    }
  });
}

const duration = (limits: { min?: number; max?: number } = {}) =>
  quantity((text) => parseDuration(text), 'a duration such as 100ms, 30s or 1m30s', {
    max: SCENARIO_MAX_MS,
    ...limits,
  });

const latencyParams = z
  .strictObject({
    latency: duration({ min: 1, max: 60_000 }),
    jitter: duration({ max: 60_000 }).default(0),
    duration: duration({ min: 100 }).default(30_000),
    direction: z.enum(['to', 'from', 'both']).default('to'),
    existing: z.enum(['reset', 'keep']).default('reset'),
  })
  .refine((params) => params.jitter <= params.latency, {
    path: ['jitter'],
    message: 'must not exceed latency: a delay cannot be negative',
  })
  .transform(
    (params): NetworkLatencyParams => ({
      latencyMs: params.latency,
      jitterMs: params.jitter,
      durationMs: params.duration,
      direction: params.direction,
      existing: params.existing,
    }),
  );

const podFailureParams = z
  .strictObject({
    count: z.union([z.number().int().min(1), z.literal('all')]).optional(),
    percentage: quantity((text) => parsePercent(text), 'a percentage such as 30%', { max: 1 }).optional(),
    duration: duration().default(0),
    interval: duration({ min: 100 }).default(5000),
    recovery: duration({ min: 100 }).default(60_000),
  })
  .refine((params) => params.count === undefined || params.percentage === undefined, {
    path: ['percentage'],
    message: 'count and percentage exclude each other',
  })
  .transform((params): PodFailureParams => {
    const share = params.count === 'all' ? 1 : params.percentage;
    const instances = typeof params.count === 'number' ? params.count : 1;
    return {
      count: share === undefined ? { instances } : { share },
      durationMs: params.duration,
      intervalMs: params.interval,
      recoveryMs: params.recovery,
    };
  });

const target = z.string().min(1, 'must name a service');
const scenario = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('network-latency'), target, params: latencyParams }),
    z.strictObject({ type: z.literal('pod-failure'), target, params: podFailureParams.prefault({}) }),
  ],
  { error: 'must be network-latency or pod-failure' },
);

// Names of figures that are good when high: a bare number there would silently mean the opposite of what was meant.
const GOOD_WHEN_HIGH = /avail|success|uptime|throughput|healthy|ready/i;

const metric = z
  .strictObject({
    name: z.string().min(1),
    source: z.string().min(1),
    threshold: z.union([z.string(), z.number()]).transform((value, context) => {
      try {
        return parseThreshold(value);
      } catch {
        const forms = '"< 1%", "<= 200ms", ">= 0.99" or a plain number (an upper limit)';
        context.addIssue({ code: 'custom', message: `"${value}" is not a threshold: write ${forms}` });
        return z.NEVER;
      }
    }),
  })
  .refine(({ name, threshold }) => /^[<>=]/.test(threshold.text) || !GOOD_WHEN_HIGH.test(name), {
    path: ['threshold'],
    message: 'a bare value is an upper limit, which this metric hardly means: write ">= ..." (or "<= ...")',
  });

/** Parses a whole file. */
export const experimentFile: z.ZodType<{ readonly experiment: Experiment }> = z.strictObject({
  experiment: z.strictObject({
    name: z.string().min(1).max(200),
    scenarios: z.array(scenario).min(1, 'must hold at least one scenario').max(EXPERIMENT_MAX_ITEMS),
    metrics: z
      .array(metric)
      .min(1, 'must hold at least one metric: without one there is nothing to pass or fail')
      .max(EXPERIMENT_MAX_ITEMS),
  }),
});
