import { type HealthCheck, healthCheck } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { initialHealth, nextHealth } from './health.ts';

const check: HealthCheck = healthCheck.parse({
  tcp: { port: 80 },
  intervalMs: 1_000,
  retries: 3,
  startPeriodMs: 2_000,
  startIntervalMs: 100,
});
const bad = { healthy: false, message: 'refused' };
const good = { healthy: true, message: 'fine' };

/** Probes at the given times since start; `good` at those in `fine`. */
function after(times: readonly number[], fine: readonly number[] = [], state = initialHealth(false)) {
  return times.reduce((health, at) => nextHealth(health, fine.includes(at) ? good : bad, check, at), state);
}

describe('nextHealth', () => {
  it('is healthy from the first success on', () => {
    expect(after([100, 200, 300], [300])).toMatchObject({ healthy: true, everHealthy: true });
  });

  it('gives a slow starter its start period and its retries, however often it is probed', () => {
    const often = Array.from({ length: 49 }, (_, index) => (index + 1) * 100);
    expect(after(often).failed).toBe(false);
    expect(after([...often, 5_000]).failed).toBe(true);
  });

  it('forgives failures in a row up to the retries once it was healthy', () => {
    const healthy = initialHealth(true);
    expect(after([10_000, 11_000], [], healthy)).toMatchObject({ healthy: true, failed: false });
    expect(after([10_000, 11_000, 12_000], [], healthy)).toMatchObject({ healthy: false, failed: true });
    expect(after([10_000, 11_000, 12_000, 13_000], [12_000], healthy)).toMatchObject({
      healthy: true,
      failures: 1,
    });
  });

  it('says what the last probe said', () => {
    expect(after([100]).message).toBe('refused');
  });
});
