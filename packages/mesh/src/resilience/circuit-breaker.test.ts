import { isHeptadError, type Random } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { CircuitBreaker, type CircuitState } from './circuit-breaker.ts';

const noJitter: Random = { next: () => 0, integer: () => 0, bytes: () => new Uint8Array(), uuid: () => '' };

function breakerAt(clock: VirtualClock, options = {}): CircuitBreaker {
  return new CircuitBreaker({ clock, random: noJitter, consecutiveFailures: 3, openMs: 1_000, ...options });
}

function fail(breaker: CircuitBreaker, times: number): void {
  for (let n = 0; n < times; n += 1) breaker.record(breaker.acquire(), false);
}

describe('CircuitBreaker', () => {
  it('opens after failures in a row and refuses calls while open', () => {
    const breaker = breakerAt(new VirtualClock());
    fail(breaker, 2);
    expect(breaker.state).toBe('closed');
    fail(breaker, 1);
    expect(breaker.state).toBe('open');
    expect(breaker.acquire()).toBe(0);
  });

  it('a success in between starts the count anew', () => {
    const breaker = breakerAt(new VirtualClock());
    fail(breaker, 2);
    breaker.record(breaker.acquire(), true);
    fail(breaker, 2);
    expect(breaker.state).toBe('closed');
  });

  it('lets exactly one probe through when its time is up, whose success closes it', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock);
    fail(breaker, 3);
    clock.advance(999);
    expect(breaker.acquire()).toBe(0);
    clock.advance(1);
    const probe = breaker.acquire();
    expect(probe).toBeGreaterThan(0);
    expect(breaker.state).toBe('half-open');
    expect(breaker.acquire()).toBe(0);
    breaker.record(probe, true);
    expect(breaker.state).toBe('closed');
  });

  it('waits twice as long after each failed probe, up to the limit', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock, { maxOpenMs: 3_000 });
    fail(breaker, 3);
    for (const wait of [1_000, 2_000, 3_000, 3_000]) {
      expect(breaker.retryAfterMs).toBe(wait);
      clock.advance(wait);
      fail(breaker, 1);
      expect(breaker.state).toBe('open');
    }
  });

  it('failures that are an hour old do not open it (they did in a breaker whose window never expired)', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock, { consecutiveFailures: 1_000, minimumCalls: 10 });
    fail(breaker, 9);
    clock.advance(3_600_000);
    fail(breaker, 1);
    expect(breaker.state).toBe('closed');
  });

  it('opens on the failure rate of the window', () => {
    const breaker = breakerAt(new VirtualClock(), { consecutiveFailures: 1_000, minimumCalls: 10 });
    for (let n = 0; n < 5; n += 1) breaker.record(breaker.acquire(), true);
    fail(breaker, 4);
    expect(breaker.state).toBe('closed');
    fail(breaker, 1);
    expect(breaker.state).toBe('open');
  });

  it('ignores results of calls that began before it opened', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock);
    const straggler = breaker.acquire();
    fail(breaker, 3);
    clock.advance(1_000);
    const probe = breaker.acquire();
    breaker.record(straggler, true);
    expect(breaker.state).toBe('half-open');
    breaker.record(probe, false);
    breaker.record(straggler, true);
    expect(breaker.state).toBe('open');
  });

  it('a probe that never reports does not keep it shut for ever', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock, { probeTimeoutMs: 5_000 });
    fail(breaker, 3);
    clock.advance(1_000);
    breaker.acquire();
    clock.advance(4_999);
    expect(breaker.acquire()).toBe(0);
    clock.advance(1);
    expect(breaker.acquire()).toBeGreaterThan(0);
  });

  it('an abandoned probe lets another go at once', () => {
    const clock = new VirtualClock();
    const breaker = breakerAt(clock);
    fail(breaker, 3);
    clock.advance(1_000);
    breaker.cancel(breaker.acquire());
    expect(breaker.acquire()).toBeGreaterThan(0);
  });

  it('execute refuses with CIRCUIT_OPEN and says when to come again', async () => {
    const breaker = breakerAt(new VirtualClock(), { name: 'payments', consecutiveFailures: 1 });
    await expect(breaker.execute(() => Promise.reject(new Error('down')))).rejects.toThrow('down');
    const refused = await breaker.execute(async () => 'never').catch((error: unknown) => error);
    expect(isHeptadError(refused, 'CIRCUIT_OPEN')).toBe(true);
    expect(refused).toMatchObject({ retryable: true, details: { name: 'payments', retryAfterMs: 1_000 } });
  });

  it('whatever happens: never two probes out, never open below the thresholds, always a way back', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('call' as const), ok: fc.boolean() }),
      fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 20_000 }) }),
      fc.constant({ do: 'abandon' as const }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const clock = new VirtualClock();
        const changes: [CircuitState, CircuitState][] = [];
        const breaker = breakerAt(clock, {
          onChange: (from: CircuitState, to: CircuitState) => changes.push([from, to]),
        });
        for (const one of steps) {
          if (one.do === 'wait') clock.advance(one.ms);
          else {
            const permit = breaker.acquire();
            if (permit === 0) expect(breaker.retryAfterMs).toBeGreaterThan(0);
            else if (breaker.state === 'half-open') expect(breaker.acquire()).toBe(0);
            if (permit !== 0 && one.do === 'call') breaker.record(permit, one.ok);
            if (permit !== 0 && one.do === 'abandon') breaker.cancel(permit);
          }
        }
        const legal = new Set(['closed>open', 'open>half-open', 'half-open>open', 'half-open>closed']);
        for (const [from, to] of changes) expect(legal).toContain(`${from}>${to}`);
        clock.advance(60_000);
        const probe = breaker.acquire();
        expect(probe).toBeGreaterThan(0);
        breaker.record(probe, true);
        expect(breaker.state).toBe('closed');
      }),
    );
  });
});
