import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EndFacts, LAST_BACK_OFF_MS, nextRestart, RAN_WELL_MS } from './restart-policy.ts';

const crash: EndFacts = {
  policy: { policy: 'always' },
  healthCheck: undefined,
  exitCode: 1,
  exitedBy: 'itself',
  stoppedByHand: false,
  streak: 0,
  ranMs: 50,
};

describe('nextRestart', () => {
  it('backs off 100 ms, doubling up to a minute', () => {
    const delays: number[] = [];
    for (let streak: number | undefined = 0; streak !== undefined && delays.length < 12; ) {
      const next = nextRestart({ ...crash, streak });
      delays.push(next?.delayMs ?? -1);
      streak = next?.streak;
    }
    expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
  });

  it('begins anew after ten seconds of running', () => {
    expect(nextRestart({ ...crash, streak: 7, ranMs: RAN_WELL_MS })).toEqual({ delayMs: 100, streak: 1 });
    expect(nextRestart({ ...crash, streak: 7, ranMs: RAN_WELL_MS - 1 })?.delayMs).toBe(12_800);
  });

  it.each([
    ['no', 1, false],
    ['no', 0, false],
    ['always', 0, true],
    ['always', 1, true],
    ['unless-stopped', 0, true],
    ['on-failure', 0, false],
    ['on-failure', 1, true],
  ] as const)('policy %s, exit code %i: %s', (policy, exitCode, restarts) => {
    expect(nextRestart({ ...crash, policy: { policy }, exitCode }) !== undefined).toBe(restarts);
    expect(nextRestart({ ...crash, policy: { policy }, exitCode, stoppedByHand: true })).toBeUndefined();
  });

  it('gives up after maxRetries in a row', () => {
    const policy = { policy: 'on-failure', maxRetries: 3 } as const;
    expect(nextRestart({ ...crash, policy, streak: 2 })).toBeDefined();
    expect(nextRestart({ ...crash, policy, streak: 3 })).toBeUndefined();
    expect(nextRestart({ ...crash, policy, streak: 3, ranMs: RAN_WELL_MS })).toBeDefined();
  });

  it('an unhealthy one is the health check’s to decide, whatever the policy', () => {
    const unhealthy = { ...crash, exitedBy: 'unhealthy', exitCode: 0 } as const;
    const command = ['check'];
    const none = { policy: 'no' } as const;
    expect(nextRestart({ ...unhealthy, policy: none, healthCheck: { command } })).toBeDefined();
    expect(nextRestart({ ...unhealthy, healthCheck: { command, onUnhealthy: 'stop' } })).toBeUndefined();
  });

  it('never waits longer than a minute nor less than 100 ms', () => {
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(20_000), (streak, ranMs) => {
        const delay = nextRestart({ ...crash, streak, ranMs })?.delayMs ?? 0;
        return delay >= 100 && delay <= LAST_BACK_OFF_MS;
      }),
    );
  });
});
