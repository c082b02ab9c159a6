import { isHeptadError } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SeriesData } from '../metrics/store-types.ts';
import { QueryEngine } from './engine.ts';
import { parsePromql } from './parser.ts';
import { formatValue, parseFloatText } from './value.ts';

const NOTHING = new QueryEngine({ select: () => [] });

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: unknown) => (isHeptadError(error) ? error.code : String(error)),
  );
}

describe('bounds', () => {
  it.each(['max_over_time(vector(1)[15d:1ms])', 'sum_over_time(sum_over_time(vector(1)[1h:1s])[1h:1s])'])(
    '%s ends',
    async (query) => {
      expect(['QUERY_TOO_EXPENSIVE', 'no error']).toContain(await codeOf(NOTHING.query(query, 1e12)));
    },
  );

  it('refuses more points than a range query answers', async () => {
    expect(await codeOf(NOTHING.queryRange('1', { start: 0, end: 1e9, step: 1 }))).toBe(
      'QUERY_TOO_EXPENSIVE',
    );
  });

  it('gives up when work outgrows the limit', async () => {
    const times = Float64Array.from({ length: 20_000 }, (_, i) => 1e12 + i);
    const series: SeriesData[] = Array.from({ length: 50 }, (_, s) => ({
      labels: { __name__: 'x', s: `${s}` },
      times,
      values: times,
    }));
    const engine = new QueryEngine({ select: () => series });
    const range = { start: 1e12 + 20_000, end: 1e12 + 30_000, step: 1 };
    expect(await codeOf(engine.queryRange('sum_over_time(x[1h])', range))).toBe('QUERY_TOO_EXPENSIVE');
  });

  it('parses hostile nesting without exhausting the stack', () => {
    for (const text of [
      '('.repeat(50_000),
      '-'.repeat(50_000),
      'sum('.repeat(10_000),
      `1${'^1'.repeat(30_000)}`,
      `1${'+1'.repeat(30_000)}`,
      `x${'[1m:1m]'.repeat(9000)}`,
      `-x${' offset 1m'.repeat(5000)}`,
    ]) {
      expect(() => parsePromql(text)).toThrow(expect.objectContaining({ code: 'INVALID_QUERY' }));
    }
  });
});

describe('errors', () => {
  it.each([
    ['sum(rate(x[5m])', 1, 16],
    ['up{job=api}', 1, 8],
    ['1 +\n  * 2', 2, 3],
    ['rate(up)', 1, 6],
    ['up[5m', 1, 6],
    ['up{job=~"["}', 1, 9],
    ['"open', 1, 1],
    ['5minutes', 1, 1],
  ])('%j points at line %i, column %i', (query, line, column) => {
    expect(() => parsePromql(query)).toThrow(
      expect.objectContaining({ code: 'INVALID_QUERY', details: expect.objectContaining({ line, column }) }),
    );
  });

  it.each([
    ['mad_over_time(x[5m])', 'mad_over_time'],
    ['limitk(2, x)', 'limitk'],
    ['x[5m*2]', 'duration expression'],
    ['a + fill(0) b', 'fill'],
    ['rate(x[5m] anchored)', 'anchored'],
  ])('%s is named as not supported', (query, feature) => {
    expect(() => parsePromql(query)).toThrow(
      expect.objectContaining({ code: 'NOT_SUPPORTED', message: expect.stringContaining(feature) }),
    );
  });

  it('never throws anything but its own errors', () => {
    const piece = fc.constantFrom(
      'sum',
      'rate',
      '(',
      ')',
      '[',
      ']',
      '{',
      '}',
      '5m',
      '1',
      'x',
      '"a"',
      '=~',
      ',',
      'by',
      '-',
      'offset',
      '@',
      ':',
      'on',
      '>',
      '==',
      'bool',
      '`',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), fc.boolean(), (pieces, spaced) => {
        try {
          parsePromql(pieces.join(spaced ? ' ' : ''));
        } catch (error) {
          expect(isHeptadError(error)).toBe(true);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('formatValue', () => {
  it('writes digits that read back the same, without an exponent', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        const text = formatValue(value);
        expect(text).not.toMatch(/e/);
        expect(Object.is(parseFloatText(text), value)).toBe(true);
      }),
    );
  });
});
