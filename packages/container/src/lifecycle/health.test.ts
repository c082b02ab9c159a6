import type { ContainerHealth, HealthResult } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { nextCheckDelayMs, nextHealth, STARTING, settleHealthCheck } from './health.ts';

const check = settleHealthCheck({ command: ['check'], retries: 3, startPeriodMs: 1000 });

function result(exitCode: number, startedAt = 5000): HealthResult {
  return { startedAt, finishedAt: startedAt + 1, exitCode, output: '' };
}

function after(...results: HealthResult[]): ContainerHealth {
  return results.reduce((health, each) => nextHealth(health, each, check, 0), STARTING);
}

describe('nextHealth', () => {
  it('one success makes it healthy', () => {
    expect(after(result(0)).status).toBe('healthy');
    expect(after(result(1), result(1), result(1), result(0))).toMatchObject({
      status: 'healthy',
      failingStreak: 0,
    });
  });

  it('only failures in a row make it unhealthy', () => {
    expect(after(result(1), result(1)).status).toBe('starting');
    expect(after(result(1), result(-1), result(2)).status).toBe('unhealthy');
    expect(after(result(0), result(1), result(1), result(0), result(1)).status).toBe('healthy');
  });

  it('failures in the start period do not count, until a check has succeeded', () => {
    expect(after(result(1, 10), result(1, 20), result(1, 30), result(1, 40))).toMatchObject({
      status: 'starting',
      failingStreak: 0,
    });
    expect(after(result(0, 10), result(1, 20), result(1, 30), result(1, 40)).status).toBe('unhealthy');
  });

  it('keeps the last five results', () => {
    const health = after(...[1, 2, 3, 4, 5, 6, 7].map((code) => result(code)));
    expect(health.results.map(({ exitCode }) => exitCode)).toEqual([3, 4, 5, 6, 7]);
    expect(health.failingStreak).toBe(7);
  });
});

describe('nextCheckDelayMs', () => {
  it('is the start interval within the start period, until healthy', () => {
    expect(nextCheckDelayMs(STARTING, check, 0)).toBe(5_000);
    expect(nextCheckDelayMs(STARTING, check, 1000)).toBe(30_000);
    expect(nextCheckDelayMs(after(result(0)), check, 0)).toBe(30_000);
  });
});
