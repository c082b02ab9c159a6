// From what was seen to a verdict and a score, as a pure function: nothing that was not measured can pass.

import type { ExperimentMetric } from './experiment.ts';
import type { ExperimentReport, MetricOutcome, ProbeSummary, ScenarioOutcome, ScorePart } from './report.ts';
import { within } from './threshold.ts';

/** What a verdict is made of. */
export interface Findings {
  readonly steadyBefore: boolean;
  readonly steadyAfter: boolean;
  readonly scenarios: readonly ScenarioOutcome[];
  readonly metrics: readonly MetricOutcome[];
  readonly during: ProbeSummary;
}

/** The verdict with its reasons. */
export type Verdict = Pick<ExperimentReport, 'verdict' | 'because' | 'score' | 'scoreParts'>;

/** 95 % interval of a share, by Wilson: honest also for few samples and for shares of 0 and 1. */
export function wilson(successes: number, total: number): readonly [number, number] {
  if (total === 0) return [0, 1];
  const z = 1.96;
  const share = successes / total;
  const centre = share + (z * z) / (2 * total);
  const spread = z * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
  const scale = 1 + (z * z) / total;
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)];
}

/** What one metric's readings mean. Pure. */
export function judgeMetric(
  metric: ExperimentMetric,
  readings: { readonly before: number; readonly during: readonly number[]; readonly after: number },
): MetricOutcome {
  const during = readings.during.filter((value) => !Number.isNaN(value));
  const high = metric.threshold.is === '>' || metric.threshold.is === '>=';
  const worst = during.length === 0 ? Number.NaN : high ? Math.min(...during) : Math.max(...during);
  const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);
  const broken = [
    ...(during.length === 0 ? ['it could not be read while the fault was there'] : []),
    ...(during.length > 0 && !during.every((value) => within(metric.threshold, value))
      ? [`it was ${worst.toPrecision(4)} while the fault was there`]
      : []),
    ...(within(metric.threshold, readings.after)
      ? []
      : [`it was ${readings.after.toPrecision(4)} afterwards`]),
  ];
  return {
    name: metric.name,
    source: metric.source,
    threshold: metric.threshold.text,
    before: orNull(readings.before),
    during: orNull(worst),
    after: orNull(readings.after),
    readings: during.length,
    passed: broken.length === 0,
    because:
      broken.length === 0
        ? `kept ${metric.threshold.text}`
        : `must keep ${metric.threshold.text}: ${broken.join(', ')}`,
  };
}

/**
 * The verdict. In this order: the system was not steady before (`unproven`, nothing was injected); a fault could not be taken
 * back or the target did not recover (`failed`); a fault was not proven (`unproven`); a metric broke its threshold or the
 * system is not steady after (`failed`); otherwise `passed`.
 */
export function judge(findings: Findings): Verdict {
  const { scenarios, metrics } = findings;
  const scoreParts = parts(findings);
  const weight = scoreParts.reduce((sum, part) => sum + part.weight, 0);
  const score = Math.floor(
    (100 * scoreParts.reduce((sum, part) => sum + part.weight * part.value, 0)) / weight,
  );
  if (!findings.steadyBefore) {
    const because =
      'the system was not steady before the experiment: no fault was injected, nothing can be concluded';
    return { verdict: 'unproven', because, score: null, scoreParts: [] };
  }
  const stuck = scenarios.find(({ removed }) => !removed);
  if (stuck !== undefined) {
    const because = `the fault ${stuck.type} on ${stuck.target} could not be taken back: ${stuck.problem ?? 'unknown why'}`;
    return { verdict: 'failed', because, score: 0, scoreParts };
  }
  const unproven = scenarios.find(({ proof }) => !proof.proven);
  if (unproven !== undefined) {
    const because = `the fault ${unproven.type} on ${unproven.target} is not proven to have been there: ${unproven.proof.because}`;
    return { verdict: 'unproven', because, score: null, scoreParts };
  }
  const lost = scenarios.find(({ recovered }) => !recovered);
  const broken = metrics.filter(({ passed }) => !passed);
  const reasons = [
    ...(lost === undefined ? [] : [`${lost.target} did not recover: ${lost.problem ?? 'unknown why'}`]),
    ...broken.map(({ name, because }) => `${name} ${because}`),
    ...(findings.steadyAfter ? [] : ['the system is not back in its steady state']),
  ];
  if (reasons.length > 0) return { verdict: 'failed', because: reasons.join('; '), score, scoreParts };
  const because = `all ${scenarios.length} faults were really there, all ${metrics.length} metrics kept their thresholds, and the system is steady again`;
  return { verdict: 'passed', because, score, scoreParts };
}

// Weights: what users see counts most; each of the experiment's own metrics counts as much as recovery.
function parts(findings: Findings): ScorePart[] {
  const { during } = findings;
  const good = during.samples - during.failures;
  const [low, high] = wilson(good, during.samples);
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return [
    {
      name: 'users served while the fault was there',
      weight: 3,
      value: during.samples === 0 ? 0 : good / during.samples,
      evidence: `${good} of ${during.samples} looks succeeded (95 % interval ${percent(low)} to ${percent(high)})`,
    },
    ...findings.metrics.map((metric) => ({
      name: metric.name,
      weight: 2,
      value: metric.passed ? 1 : 0,
      evidence: `${metric.because} (${metric.readings} readings)`,
    })),
    ...findings.scenarios.map((scenario) => ({
      name: `${scenario.target} recovered from ${scenario.type}`,
      weight: 2,
      value: scenario.recovered ? 1 : 0,
      evidence: scenario.problem ?? 'whole again within its time',
    })),
    {
      name: 'steady state afterwards',
      weight: 2,
      value: findings.steadyAfter ? 1 : 0,
      evidence: findings.steadyAfter
        ? 'the probe succeeds as before'
        : 'the probe does not succeed as before',
    },
  ];
}
