// Amounts: every accepted form, every kind of nonsense, and what is printed can be read again.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isHeptadError } from './errors.ts';
import {
  formatBytes,
  formatCpu,
  formatDuration,
  parseBytes,
  parseCpu,
  parseDuration,
  parsePercent,
} from './quantity.ts';

const forms: [(value: string | number) => number, [string | number, number][], (string | number)[]][] = [
  [
    parseCpu,
    [
      ['0.5', 500],
      ['500m', 500],
      [2, 2000],
      ['2', 2000],
      [0, 0],
      ['0', 0],
      ['.25', 250],
      ['1.5', 1500],
      ['0.1', 100],
      [0.001, 1],
    ],
    [
      '',
      ' ',
      '-1',
      -1,
      'x',
      '1x',
      '1 core',
      '0.0001',
      '1e3',
      Number.NaN,
      Number.POSITIVE_INFINITY,
      '1,5',
      '5m5',
      2e6,
    ],
  ],
  [
    parseBytes,
    [
      ['512m', 536_870_912],
      ['1Gi', 1_073_741_824],
      ['1.5g', 1_610_612_736],
      ['100kb', 102_400],
      ['1k', 1024],
      ['1KB', 1024],
      ['1KiB', 1024],
      ['7b', 7],
      ['7', 7],
      [7, 7],
      ['2t', 2_199_023_255_552],
      ['1 GiB', 1_073_741_824],
      ['0', 0],
    ],
    ['', '-1m', -1, 'm', '1mm', '1gg', '1x', '0.5', 1.5, '1.5b', '9999999p', Number.NaN, '1e3', '1 2k'],
  ],
  [
    parseDuration,
    [
      ['500ms', 500],
      ['1m30s', 90_000],
      ['2h', 7_200_000],
      ['1.5s', 1500],
      ['1h0m1s', 3_601_000],
      ['0', 0],
      ['0s', 0],
      ['1us', 1],
      ['1.1h', 3_960_000],
      ['7d', 604_800_000],
      [250, 250],
    ],
    ['', '5', '5 s', 's', '1x', '-1s', -1, '1s2', 'ms', Number.NaN, '1000000d', 'P1D'],
  ],
  [
    parsePercent,
    [
      ['30%', 0.3],
      [0.3, 0.3],
      ['0.3', 0.3],
      ['100%', 1],
      [0, 0],
      ['12.5%', 0.125],
    ],
    ['', '%', '101%', '30', 30, -0.1, '-5%', '1/2', Number.NaN],
  ],
];

for (const [parse, good, bad] of forms) {
  describe(parse.name, () => {
    for (const [text, amount] of good) {
      it(`${JSON.stringify(text)} is ${amount}`, () => expect(parse(text)).toBe(amount));
    }
    for (const text of bad) {
      it(`${JSON.stringify(text)} is refused, with the accepted forms`, () => {
        const refusal = (() => {
          try {
            return parse(text);
          } catch (error) {
            return error;
          }
        })();
        if (!isHeptadError(refusal, 'INVALID_QUANTITY')) throw new Error(`it answered ${String(refusal)}`);
        expect(refusal.hint).toMatch(/^write .*such as/);
      });
    }
  });
}

describe('formats', () => {
  it('print what people write', () => {
    expect([0, 7, 1024, 1536, 536_870_912, 1_610_612_736, 1_048_575].map(formatBytes)).toEqual([
      '0B',
      '7B',
      '1KiB',
      '1.5KiB',
      '512MiB',
      '1.5GiB',
      '1MiB',
    ]);
    expect([0, 500, 1500, 90_000, 3_601_500, 86_400_000].map(formatDuration)).toEqual([
      '0s',
      '500ms',
      '1.5s',
      '1m30s',
      '1h1.5s',
      '1d',
    ]);
    expect([500, 2000, 1].map(formatCpu)).toEqual(['0.5', '2', '0.001']);
  });

  it('durations and CPU read back exactly, bytes within the one decimal shown', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 12 }), (amount) => {
        expect(parseDuration(formatDuration(amount))).toBe(amount);
        const bytes = parseBytes(formatBytes(amount));
        expect(Math.abs(bytes - amount)).toBeLessThanOrEqual(amount * 0.06);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), (cpuMillis) => {
        expect(parseCpu(formatCpu(cpuMillis))).toBe(cpuMillis);
      }),
    );
  });
});
