// What an experiment leaves behind: the report's shape. JSON is this; HTML is drawn from it.

import type { Proof } from './types.ts';

/** Where in an experiment something happened. */
export type Phase = 'before' | 'during' | 'after';

/** One look of the probe. */
export interface ProbeSample {
  /** Milliseconds since the experiment began. */
  readonly atMs: number;
  readonly phase: Phase;
  readonly ok: boolean;
  readonly latencyMs: number;
  readonly message?: string;
}

/** The probe's figures over one phase. */
export interface ProbeSummary {
  readonly samples: number;
  readonly failures: number;
  /** Failures over samples; NaN is written as null when there were none. */
  readonly errorRate: number;
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  /** Longest time without a success, milliseconds. */
  readonly longestOutageMs: number;
}

/** One thing that happened. */
export interface TimelineEntry {
  /** Milliseconds since the experiment began. */
  readonly atMs: number;
  readonly kind: 'phase' | 'fault' | 'probe' | 'metric' | 'problem';
  readonly message: string;
}

/** What became of one scenario. */
export interface ScenarioOutcome {
  readonly type: string;
  readonly target: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly faultId: string;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly proof: Proof;
  /** The fault was taken back without error. */
  readonly removed: boolean;
  /** The target was whole again within its time. */
  readonly recovered: boolean;
  /** What went wrong, if anything. */
  readonly problem?: string;
}

/** What became of one metric. */
export interface MetricOutcome {
  readonly name: string;
  readonly source: string;
  readonly threshold: string;
  readonly before: number | null;
  /** Worst value while the faults were there (for `probe:` sources: over the whole phase). */
  readonly during: number | null;
  readonly after: number | null;
  readonly readings: number;
  readonly passed: boolean;
  readonly because: string;
}

/** One addend of the resilience score. */
export interface ScorePart {
  readonly name: string;
  readonly weight: number;
  /** 0..1 */
  readonly value: number;
  /** What the value rests on. */
  readonly evidence: string;
}

/** The whole report of one experiment. */
export interface ExperimentReport {
  readonly format: 'heptad-chaos-report/1';
  readonly id: string;
  readonly name: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** Whether it ran to its end: says nothing about resilience. */
  readonly status: 'completed' | 'aborted' | 'failed';
  /** `unproven`: no conclusion, because a fault was not proven to be there or nothing could be measured. */
  readonly verdict: 'passed' | 'failed' | 'unproven';
  readonly because: string;
  /** 0..100; null without a verdict. */
  readonly score: number | null;
  readonly scoreParts: readonly ScorePart[];
  readonly scenarios: readonly ScenarioOutcome[];
  readonly metrics: readonly MetricOutcome[];
  readonly probe: Readonly<Record<Phase, ProbeSummary>>;
  readonly timeline: readonly TimelineEntry[];
  readonly samples: readonly ProbeSample[];
}
