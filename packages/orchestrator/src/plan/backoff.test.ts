import { describe, expect, it } from 'vitest';
import { decideRestart } from './backoff.ts';

const delayAfter = (attempts: number, ranMs = 0): number => {
  const decision = decideRestart({ policy: { condition: 'always' }, exitCode: 1, attempts, ranMs });
  return decision.restart ? decision.delayMs : -1;
};

describe('decideRestart', () => {
  it('doubles the wait from 100 ms up to a minute', () => {
    expect([0, 1, 2, 3, 9, 10, 1_000].map((attempts) => delayAfter(attempts))).toEqual([
      100, 200, 400, 800, 51_200, 60_000, 60_000,
    ]);
  });

  it('begins anew after ten seconds of running', () => {
    expect(delayAfter(8, 9_999)).toBe(25_600);
    expect(delayAfter(8, 10_000)).toBe(100);
  });

  it.each([
    ['always', 0, true],
    ['always', 1, true],
    ['on-failure', 0, false],
    ['on-failure', 1, true],
    ['never', 1, false],
  ] as const)('with %s and exit code %i restarts: %s', (condition, exitCode, restart) => {
    expect(decideRestart({ policy: { condition }, exitCode, attempts: 0, ranMs: 0 }).restart).toBe(restart);
  });

  it('stops after the attempts allowed', () => {
    const policy = { condition: 'always' as const, maxAttempts: 2 };
    const restarts = [0, 1, 2].map(
      (attempts) => decideRestart({ policy, exitCode: 1, attempts, ranMs: 0 }).restart,
    );
    expect(restarts).toEqual([true, true, false]);
  });
});
