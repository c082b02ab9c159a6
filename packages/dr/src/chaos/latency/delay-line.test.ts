import { systemClock, systemRandom } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { DelayLine } from './delay-line.ts';

describe('DelayLine', () => {
  it('delays a burst once, not once per piece, and keeps its order', async () => {
    const seen: { item: number; delayedMs: number }[] = [];
    const line = new DelayLine<number>({
      clock: systemClock,
      random: systemRandom,
      delayMs: () => 40,
      jitterMs: () => 15,
      deliver: (item, delayedMs) => seen.push({ item, delayedMs }),
    });
    for (let i = 0; i < 50; i += 1) line.push(i);
    while (seen.length < 50) await systemClock.sleep(5);
    expect(seen.map(({ item }) => item)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(Math.min(...seen.map(({ delayedMs }) => delayedMs))).toBeGreaterThanOrEqual(24.9);
  });

  it('gives out all that waits when flushed', async () => {
    const seen: number[] = [];
    const line = new DelayLine<number>({
      clock: systemClock,
      random: systemRandom,
      delayMs: () => 60_000,
      jitterMs: () => 0,
      deliver: (item) => seen.push(item),
    });
    line.push(1);
    line.push(2);
    line.flush();
    expect(seen).toEqual([1, 2]);
  });
});
