import { describe, expect, it } from 'vitest';
import {
  lastOf,
  quoted,
  RANGES,
  rangeQueryPath,
  stepOf,
  toColumns,
  toLookup,
  trafficQueries,
} from './query.ts';
import type { QueryAnswer } from './types.ts';

const range = RANGES[1] ?? { label: '15 min', seconds: 900 };

function matrix(result: QueryAnswer['data']['result']): QueryAnswer {
  return { status: 'success', data: { resultType: 'matrix', result } };
}

describe('queries', () => {
  it('ask for one service, with its name quoted', () => {
    const { rate, errors, p99 } = trafficQueries('we"b\\', range);
    expect(rate).toBe(
      'sum by (server_address) (rate(http_server_request_duration_seconds_count{service="heptad-proxy",server_address="we\\"b\\\\"}[30s]))',
    );
    expect(p99).toContain('histogram_quantile(0.99, sum by (le, server_address)');
    expect(errors).toContain('http_response_status_code=~"5.."');
    expect(trafficQueries(undefined, range).rate).not.toContain('server_address=');
    expect(quoted('a\nb')).toBe('"a\\nb"');
  });

  it('have a step and a rate window that fit the range', () => {
    expect(RANGES.map(stepOf)).toEqual([5, 5, 18, 108, 432]);
    expect(trafficQueries(undefined, { label: '', seconds: 86_400 }).rate).toContain('[1728s]');
  });

  it('end on a multiple of the step', () => {
    const path = rangeQueryPath('up', range, 1_700_000_003_999);
    expect(new URLSearchParams(path.split('?')[1]).get('end')).toBe('1700000000');
    expect(path).toContain('start=1699999100&end=1700000000&step=5');
  });
});

describe('answers', () => {
  it('become columns with gaps where a series has no value or NaN', () => {
    const answer = matrix([
      {
        metric: { server_address: 'b' },
        values: [
          [2, '5'],
          [3, 'NaN'],
        ],
      },
      {
        metric: { server_address: 'a' },
        values: [
          [1, '1'],
          [2, '0'],
        ],
      },
    ]);
    const columns = toColumns([{ answer, labelOf: (metric) => metric.server_address ?? '?' }]);
    expect(columns).toEqual({
      times: [1, 2, 3],
      series: [
        { label: 'a', values: [1, 0, null] },
        { label: 'b', values: [null, 5, null] },
      ],
    });
    expect(columns.series.map(lastOf)).toEqual([0, 5]);
    expect(toColumns([])).toEqual({ times: [], series: [] });
  });

  it('of an instant query become a lookup', () => {
    const answer: QueryAnswer = {
      status: 'success',
      data: {
        resultType: 'vector',
        result: [
          { metric: { container: 'web-0' }, value: [1, '42'] },
          { metric: {}, value: [1, '1'] },
        ],
      },
    };
    expect([...toLookup(answer, 'container')]).toEqual([['web-0', 42]]);
  });
});
