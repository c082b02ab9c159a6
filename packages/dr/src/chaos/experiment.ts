// The experiment file: YAML in, a typed experiment out, or every mistake at once with line and column.

import { LineCounter, parseDocument } from 'yaml';
import { invalidExperiment, issuesOf, positionAt } from './experiment-issues.ts';
import { experimentFile } from './experiment-schema.ts';
import type { Threshold } from './threshold.ts';

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
    throw invalidExperiment([
      { line: 1, column: 1, path: '', message: `is larger than ${EXPERIMENT_MAX_BYTES} bytes` },
    ]);
  }
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw invalidExperiment(
      document.errors.map((error) => ({
        ...positionAt(lines, error.pos[0]),
        path: '',
        message: error.message,
      })),
    );
  }
  const parsed = experimentFile.safeParse(document.toJS());
  if (parsed.success) return parsed.data.experiment;
  throw invalidExperiment(issuesOf(parsed.error.issues, document, lines));
}
