// The experiment file: YAML in, a typed experiment out, or every mistake at once with line and column.

import { HeptadError, parseDuration, parsePercent } from '@heptad/core';
import { isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';

/** Longest time a scenario may hold a fault: chaos that lasts longer is an outage. */
export const SCENARIO_MAX_MS: number = 10 * 60_000;
/** Scenarios and metrics of one experiment; beyond that nobody can tell what caused what. */
export const EXPERIMENT_MAX_ITEMS = 50;
/** An experiment file is a page of text; a larger one is something else. */
export const EXPERIMENT_MAX_BYTES: number = 256 * 1024;

/** Added delay on a target's connections. */
export interface NetworkLatencyParams {
  /** Added to each round trip, milliseconds. */
  readonly latencyMs: number;
  /** Each delay varies by up to this much either way, milliseconds. */
  readonly jitterMs: number;
  readonly durationMs: number;
  /** `to` the target (incoming connections), `from` it (its own outgoing ones), or `both`. */
  readonly direction: 'to' | 'from' | 'both';
  /** What happens to connections that are open when the fault begins: without `reset`, pooled ones would escape it. */
  readonly existing: 'reset' | 'keep';
}

/** Instances of a target killed. */
export interface PodFailureParams {
  /** How many instances: a number or a share (0..1) of those running, at least one. */
  readonly count: { readonly instances: number } | { readonly share: number };
  /** Goes on killing replacements this long; 0 kills once. */
  readonly durationMs: number;
  /** Time between kills while `durationMs` lasts. */
  readonly intervalMs: number;
  /** The target must be whole again this long after the last kill. */
  readonly recoveryMs: number;
}

/** One fault on one target. */
export type Scenario =
  | { readonly type: 'network-latency'; readonly target: string; readonly params: NetworkLatencyParams }
  | { readonly type: 'pod-failure'; readonly target: string; readonly params: PodFailureParams };

/** A limit that a metric must keep, in the metric's own unit (durations in ms, percentages as fractions). */
export interface Threshold {
  readonly is: '<' | '<=' | '>' | '>=' | '=';
  readonly than: number;
  /** As written. */
  readonly text: string;
}

/** One figure that must stay within its threshold while the faults are there, and after. */
export interface ExperimentMetric {
  readonly name: string;
  /**
   * `probe:error-rate`, `probe:success-rate`, `probe:latency-p50`, `probe:latency-p99`, `probe:longest-outage` are
   * measured by the controller's own probe; anything else is handed to the metric reader.
   */
  readonly source: string;
  readonly threshold: Threshold;
}

/** A parsed experiment. */
export interface Experiment {
  readonly name: string;
  readonly scenarios: readonly Scenario[];
  readonly metrics: readonly ExperimentMetric[];
}

/** One mistake in an experiment file. */
export interface ExperimentIssue {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** `experiment.scenarios[0].params.latency` */
  readonly path: string;
  readonly message: string;
}

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

/** Parses `"< 1%"`, `"<= 200ms"`, `">= 0.99"`, `5`; a bare value is an upper limit. Throws a sentence. */
function parseThreshold(input: string | number): Threshold {
  const text = String(input).trim();
  const match = /^(<=|>=|<|>|==?)?\s*(\S.*)$/.exec(text);
  const value = match?.[2] ?? '';
  const is = (match?.[1] === '==' ? '=' : (match?.[1] ?? '<=')) as Threshold['is'];
  if (/^-?\d+(\.\d+)?$/.test(value)) return { is, than: Number(value), text };
  const parse = value.endsWith('%') ? parsePercent : parseDuration;
  // 99.9 % / 100 is not 0.999 in binary; rounding keeps ">= 99.9%" true of a reading of 0.999.
  return { is, than: Number(parse(value).toPrecision(12)), text };
}

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

const file = z.strictObject({
  experiment: z.strictObject({
    name: z.string().min(1).max(200),
    scenarios: z.array(scenario).min(1, 'must hold at least one scenario').max(EXPERIMENT_MAX_ITEMS),
    metrics: z
      .array(metric)
      .min(1, 'must hold at least one metric: without one there is nothing to pass or fail')
      .max(EXPERIMENT_MAX_ITEMS),
  }),
});

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

/**
 * Parses an experiment file. Error `INVALID_EXPERIMENT`; `details.issues` is every {@link ExperimentIssue}.
 *
 * @example
 * ```ts
 * import { parseExperiment } from '@heptad/dr/chaos';
 *
 * const experiment = parseExperiment(`
 * experiment:
 *   name: orders survive a slow catalogue
 *   scenarios:
 *     - type: network-latency
 *       target: catalog
 *       params: { latency: 100ms, jitter: 10ms, duration: 30s }
 *   metrics:
 *     - { name: errors, source: 'probe:error-rate', threshold: '< 1%' }
 * `);
 * console.log(experiment.scenarios[0]?.type);
 * ```
 */
export function parseExperiment(source: string): Experiment {
  if (Buffer.byteLength(source) > EXPERIMENT_MAX_BYTES) {
    throw invalid([
      { line: 1, column: 1, path: '', message: `is larger than ${EXPERIMENT_MAX_BYTES} bytes` },
    ]);
  }
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0) {
    throw invalid(
      document.errors.map((error) => ({ ...at(error.pos[0]), path: '', message: error.message })),
    );
  }
  const parsed = file.safeParse(document.toJS());
  if (parsed.success) return parsed.data.experiment;
  throw invalid(
    flatten(parsed.error.issues).map(({ path, message }) => ({
      ...at(locate(document, path)),
      path: pathText(path),
      message,
    })),
  );
}

// One issue a mistake: zod gathers all unknown keys of an object in a single issue at the object itself.
function flatten(issues: readonly z.core.$ZodIssue[]): { path: PropertyKey[]; message: string }[] {
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          path: [...issue.path, key],
          message: `unknown key "${key}"; known here: ${knownKeys(issue.path).join(', ')}`,
        }))
      : [{ path: [...issue.path], message: issue.message }],
  );
}

function knownKeys(path: readonly PropertyKey[]): string[] {
  const text = pathText(path);
  if (text === '') return ['experiment'];
  if (text === 'experiment') return ['name', 'scenarios', 'metrics'];
  if (/metrics\[\d+\]$/.test(text)) return ['name', 'source', 'threshold'];
  if (/scenarios\[\d+\]$/.test(text)) return ['type', 'target', 'params'];
  return [
    'latency, jitter, duration, direction, existing (network-latency)',
    'count, percentage, duration, interval, recovery (pod-failure)',
  ];
}

// Offset of the node at the path, or of its nearest ancestor when the path is of something missing.
function locate(document: ReturnType<typeof parseDocument>, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth > 0; depth -= 1) {
    const node = document.getIn(path.slice(0, depth), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}

function invalid(issues: readonly ExperimentIssue[]): HeptadError<'INVALID_EXPERIMENT'> {
  const list = issues.map(
    ({ line, column, path, message }) => `  ${line}:${column} ${path === '' ? '' : `${path}: `}${message}`,
  );
  const count = issues.length === 1 ? 'one mistake' : `${issues.length} mistakes`;
  return new HeptadError('INVALID_EXPERIMENT', `cannot read the experiment: ${count}\n${list.join('\n')}`, {
    hint: 'the format is experiment{name, scenarios[{type, target, params}], metrics[{name, source, threshold}]}',
    details: { issues },
  });
}

/** Whether a value keeps a threshold. Pure; NaN keeps none. */
export function within(threshold: Threshold, value: number): boolean {
  switch (threshold.is) {
    case '<':
      return value < threshold.than;
    case '<=':
      return value <= threshold.than;
    case '>':
      return value > threshold.than;
    case '>=':
      return value >= threshold.than;
    case '=':
      return value === threshold.than;
  }
}
