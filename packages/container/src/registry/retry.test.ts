import { systemRandom } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { DEFAULT_RETRY, delayMs, retryAfterMs } from './retry.ts';

const answer = (value: string | undefined) => ({ header: () => value });

describe('asking again', () => {
  it('waits as long as the registry says, in seconds or until a date', () => {
    expect(retryAfterMs(answer('7'), 0)).toBe(7_000);
    expect(retryAfterMs(answer('Thu, 01 Jan 1970 00:00:30 GMT'), 10_000)).toBe(20_000);
    expect(retryAfterMs(answer('Thu, 01 Jan 1970 00:00:30 GMT'), 90_000)).toBe(0);
    expect(retryAfterMs(answer('soon'), 0)).toBeUndefined();
    expect(retryAfterMs(answer(undefined), 0)).toBeUndefined();
  });

  it('waits longer each time, within its bound, and never less than asked', () => {
    for (let attempt = 1; attempt < 40; attempt += 1) {
      const delay = delayMs(attempt, DEFAULT_RETRY, systemRandom);
      expect(delay).toBeLessThanOrEqual(DEFAULT_RETRY.maxDelayMs);
      expect(delay).toBeGreaterThanOrEqual(DEFAULT_RETRY.firstDelayMs / 2);
      expect(delayMs(attempt, DEFAULT_RETRY, systemRandom, 30_000)).toBe(30_000);
    }
  });
});
