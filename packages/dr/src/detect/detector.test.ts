import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FailureDetector } from './detector.ts';
import { phi } from './phi.ts';

const settings = { acceptablePauseMs: 3000, minStdDeviationMs: 100 };

describe('phi', () => {
  it('crosses 8 at 4.5 s of silence with the reference constants', () => {
    const past = { meanMs: 1000, deviationMs: 0 };
    expect(phi(4500, past, settings)).toBeLessThan(8);
    expect(phi(4600, past, settings)).toBeGreaterThan(8);
  });

  it('never falls while the silence grows, and is never negative or infinite', () => {
    const interval = fc.record({
      meanMs: fc.integer({ min: 1, max: 5000 }),
      deviationMs: fc.integer({ min: 0, max: 2000 }),
    });
    fc.assert(
      fc.property(
        interval,
        fc.integer({ min: 0, max: 60_000 }),
        fc.integer({ min: 0, max: 1000 }),
        (past, silence, more) => {
          const now = phi(silence, past, settings);
          expect(now).toBeGreaterThanOrEqual(0);
          expect(Number.isFinite(now)).toBe(true);
          expect(phi(silence + more, past, settings)).toBeGreaterThanOrEqual(now - 1e-9);
        },
      ),
    );
  });
});

function beating(until: number): FailureDetector {
  const detector = new FailureDetector({ heartbeatMs: 250, acceptablePauseMs: 1000 });
  for (let now = 0; now <= until; now += 250) {
    detector.tick(now);
    detector.heartbeat(now);
  }
  return detector;
}

describe('FailureDetector', () => {
  it('suspects a silent peer and trusts it again when it is heard', () => {
    const detector = beating(10_000);
    for (let now = 10_250; now <= 13_000; now += 250) detector.tick(now);
    expect(detector.suspicion(13_000).suspected).toBe(true);
    detector.heartbeat(13_010);
    expect(detector.suspicion(13_020).suspected).toBe(false);
  });

  it('suspects nobody for a silence that was its own standstill', () => {
    const detector = beating(10_000);
    expect(detector.suspicion(20_000).suspected).toBe(false);
    detector.tick(20_000);
    expect(detector.suspicion(20_000).suspected).toBe(false);
    for (let now = 20_250; now <= 22_500; now += 250) detector.tick(now);
    expect(detector.suspicion(22_500).suspected).toBe(true);
  });

  it('suspects nobody it has never heard', () => {
    expect(new FailureDetector().suspicion(1e9)).toMatchObject({ suspected: false, phi: 0 });
  });
});
