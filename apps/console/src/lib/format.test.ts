import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatBytes,
  formatCpu,
  formatPercent,
  formatRate,
  formatSeconds,
  plural,
} from './format.ts';

describe('formatting', () => {
  it.each([
    [formatBytes(0), '0 B'],
    [formatBytes(1023), '1023 B'],
    [formatBytes(1536), '1.5 KiB'],
    [formatBytes(512 * 1024 ** 2), '512 MiB'],
    [formatBytes(1024 ** 6 * 5), '5120 PiB'],
    [formatBytes(Number.NaN), '–'],
    [formatCpu(250), '0.25 cores'],
    [formatCpu(3), '< 0.01 cores'],
    [formatCpu(0), '0 cores'],
    [formatCpu(1000), '1 core'],
    [formatCpu(31_500), '31.5 cores'],
    [formatPercent(0.0042), '0.42 %'],
    [formatPercent(1), '100 %'],
    [formatPercent(0), '0 %'],
    [formatSeconds(0.0123), '12.3 ms'],
    [formatSeconds(1.5), '1.5 s'],
    [formatSeconds(0.000_42), '0.42 ms'],
    [formatRate(12.345), '12.3/s'],
    [formatRate(Number.NaN), '–'],
    [formatAge(0, 1_500), 'now'],
    [formatAge(0, 59_999), '59 s'],
    [formatAge(0, 3_600_000), '1 h'],
    [formatAge(0, 200_000_000), '2 d'],
    [formatAge(5_000, 0), 'now'],
    [plural(1, 'node'), '1 node'],
    [plural(0, 'node'), '0 nodes'],
  ])('%s = %s', (actual, expected) => {
    expect(actual).toBe(expected);
  });
});
