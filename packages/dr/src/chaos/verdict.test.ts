import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProbeSummary, ScenarioOutcome } from './report.ts';
import { type Findings, judge, judgeMetric, wilson } from './verdict.ts';

const during: ProbeSummary = {
  samples: 100,
  failures: 0,
  errorRate: 0,
  latencyP50Ms: 1,
  latencyP99Ms: 2,
  longestOutageMs: 0,
};
const scenario: ScenarioOutcome = {
  type: 'pod-failure',
  target: 'web',
  params: {},
  faultId: 'f',
  startedAtMs: 0,
  endedAtMs: 1,
  proof: { proven: true, because: '', evidence: {} },
  removed: true,
  recovered: true,
};
const good: Findings = { steadyBefore: true, steadyAfter: true, scenarios: [scenario], metrics: [], during };

describe('judge', () => {
  it('passes only when everything was proven and kept', () => {
    expect(judge(good)).toMatchObject({ verdict: 'passed', score: 100 });
  });

  it('never passes a fault that is not proven, however good the figures', () => {
    const unproven = { ...scenario, proof: { proven: false, because: 'no delay seen', evidence: {} } };
    expect(judge({ ...good, scenarios: [scenario, unproven] })).toMatchObject({
      verdict: 'unproven',
      score: null,
    });
  });

  it('fails with score 0 when a fault could not be taken back', () => {
    const stuck = { ...scenario, removed: false, problem: 'nft said no' };
    expect(judge({ ...good, scenarios: [stuck] })).toMatchObject({ verdict: 'failed', score: 0 });
  });

  it('concludes nothing about a system that was not steady before', () => {
    expect(judge({ ...good, steadyBefore: false })).toMatchObject({ verdict: 'unproven', score: null });
  });

  it('fails without recovery or steadiness after', () => {
    expect(judge({ ...good, scenarios: [{ ...scenario, recovered: false }] }).verdict).toBe('failed');
    expect(judge({ ...good, steadyAfter: false }).verdict).toBe('failed');
  });
});

describe('judgeMetric', () => {
  const metric = { name: 'm', source: 's', threshold: { is: '<=', than: 5, text: '<= 5' } } as const;

  it('judges by the worst reading while the fault was there', () => {
    expect(judgeMetric(metric, { before: 1, during: [1, 9, 2], after: 1 })).toMatchObject({
      passed: false,
      during: 9,
    });
    expect(judgeMetric(metric, { before: 1, during: [1, 4, 2], after: 1 }).passed).toBe(true);
  });

  it('does not pass a metric that could not be read', () => {
    expect(judgeMetric(metric, { before: 1, during: [], after: 1 }).passed).toBe(false);
    expect(judgeMetric(metric, { before: 1, during: [1], after: Number.NaN }).passed).toBe(false);
  });
});

describe('wilson', () => {
  it('holds the share, within 0 and 1', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (total, part) => {
          const successes = Math.round(total * part);
          const [low, high] = wilson(successes, total);
          expect(low).toBeGreaterThanOrEqual(0);
          expect(high).toBeLessThanOrEqual(1);
          expect(low).toBeLessThanOrEqual(successes / total + 1e-9);
          expect(high).toBeGreaterThanOrEqual(successes / total - 1e-9);
        },
      ),
    );
  });
});
