import { isHeptadError } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { parseExperiment } from './experiment.ts';
import type { ExperimentIssue } from './experiment-issues.ts';
import { within } from './threshold.ts';

function issuesOf(source: string): readonly ExperimentIssue[] {
  try {
    parseExperiment(source);
  } catch (error) {
    if (isHeptadError(error, 'INVALID_EXPERIMENT')) return error.details.issues as readonly ExperimentIssue[];
    throw error;
  }
  throw new Error('accepted');
}

describe('parseExperiment', () => {
  it('reads the whole format', () => {
    const experiment = parseExperiment(`
experiment:
  name: shop under stress
  scenarios:
    - type: network-latency
      target: catalog
      params: { latency: 100ms, jitter: 10ms, duration: 1m, direction: both }
    - type: pod-failure
      target: order
      params: { percentage: 50%, duration: 20s, interval: 5s }
    - { type: pod-failure, target: web }
  metrics:
    - { name: error rate, source: 'probe:error-rate', threshold: '< 1%' }
    - { name: p99, source: 'histogram_quantile(0.99, x)', threshold: 500ms }
    - { name: availability, source: up, threshold: '>= 99.9%' }
`);
    expect(experiment.scenarios).toEqual([
      {
        type: 'network-latency',
        target: 'catalog',
        params: { latencyMs: 100, jitterMs: 10, durationMs: 60_000, direction: 'both', existing: 'reset' },
      },
      {
        type: 'pod-failure',
        target: 'order',
        params: { count: { share: 0.5 }, durationMs: 20_000, intervalMs: 5000, recoveryMs: 60_000 },
      },
      {
        type: 'pod-failure',
        target: 'web',
        params: { count: { instances: 1 }, durationMs: 0, intervalMs: 5000, recoveryMs: 60_000 },
      },
    ]);
    expect(experiment.metrics.map(({ threshold }) => [threshold.is, threshold.than])).toEqual([
      ['<', 0.01],
      ['<=', 500],
      ['>=', 0.999],
    ]);
  });

  it('tells every mistake at once, each with its line and column', () => {
    const issues = issuesOf(`experiment:
  name: broken
  scenarios:
    - type: network-latency
      target: catalog
      params: { latency: quick, durration: 3s }
    - type: earthquake
      target: order
  metrics:
    - { name: availability, source: up, threshold: 99% }
    - { name: x, source: y, threshold: many }
  extra: 1
`);
    expect(issues.map(({ line, column, path }) => [line, column, path])).toEqual(
      expect.arrayContaining([
        [6, 26, 'experiment.scenarios[0].params.latency'],
        [6, 44, 'experiment.scenarios[0].params.durration'],
        [7, 13, 'experiment.scenarios[1].type'],
        [11, 40, 'experiment.metrics[1].threshold'],
        [12, 10, 'experiment.extra'],
      ]),
    );
    expect(issues.find(({ path }) => path.endsWith('durration'))?.message).toContain(
      'latency, jitter, duration',
    );
  });

  it('refuses a bare limit on a figure that is good when high', () => {
    const issues = issuesOf(
      'experiment: { name: a, scenarios: [{ type: pod-failure, target: b }], metrics: [{ name: availability, source: c, threshold: 99% }] }',
    );
    expect(issues[0]?.message).toContain('>=');
  });

  it.each([
    ['experiment: [1', /1:\d+/],
    ['a: 1\na: 2', /2:1/],
    ['', /experiment/],
    [
      'experiment: { name: a, scenarios: [], metrics: [] }',
      /at least one scenario[\s\S]*at least one metric/,
    ],
    [
      'experiment: { name: a, scenarios: [{ type: network-latency, target: b, params: { latency: 10ms, jitter: 20ms } }], metrics: [{ name: c, source: d, threshold: 1 }] }',
      /jitter/,
    ],
    [
      'experiment: { name: a, scenarios: [{ type: network-latency, target: b, params: { latency: 10ms, duration: 2h } }], metrics: [{ name: c, source: d, threshold: 1 }] }',
      /out of range/,
    ],
  ])('refuses %j', (source, message) => {
    expect(() => parseExperiment(source)).toThrow(message);
  });
});

describe('within', () => {
  it('keeps no threshold with a value that is not there', () => {
    for (const is of ['<', '<=', '>', '>=', '='] as const) {
      expect(within({ is, than: 1, text: '' }, Number.NaN)).toBe(false);
    }
  });
});
