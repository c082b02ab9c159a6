import { HeptadError, type Random } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { Bulkhead } from './bulkhead.ts';
import { backoffMs, isIdempotentMethod, retry } from './retry.ts';
import { RetryBudget } from './retry-budget.ts';

const half: Random = { next: () => 0.5, integer: () => 0, bytes: () => new Uint8Array(), uuid: () => '' };
const none: Random = { ...half, next: () => 0 };
const busy = (): HeptadError => new HeptadError('BUSY', 'busy', { retryable: true });
const unknown = (): HeptadError => new HeptadError('UNKNOWN_OUTCOME', 'who knows');
/** Lets promise callbacks run. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('retry', () => {
  it('repeats what may pass by itself, up to maxAttempts', async () => {
    let attempts = 0;
    const operation = async (): Promise<never> => {
      attempts += 1;
      throw busy();
    };
    await expect(retry(operation, { random: none, maxAttempts: 4 })).rejects.toThrow('busy');
    expect(attempts).toBe(4);
  });

  it('does not repeat what can never work', async () => {
    let attempts = 0;
    const operation = async (): Promise<never> => {
      attempts += 1;
      throw new Error('a bug');
    };
    await expect(retry(operation)).rejects.toThrow('a bug');
    expect(attempts).toBe(1);
  });

  it('never repeats an unknown outcome of something not idempotent, even when told to', async () => {
    for (const [idempotent, expected] of [
      [false, 1],
      [true, 3],
    ] as const) {
      let attempts = 0;
      const operation = async (): Promise<never> => {
        attempts += 1;
        throw unknown();
      };
      await expect(retry(operation, { idempotent, random: none, isRetryable: () => true })).rejects.toThrow(
        'who knows',
      );
      expect(attempts).toBe(expected);
    }
  });

  it('ends at once when aborted during the wait (others sleep their back-off to the end)', async () => {
    const clock = new VirtualClock();
    const abort = new AbortController();
    const running = retry(() => Promise.reject(busy()), {
      clock,
      random: half,
      baseMs: 60_000,
      maxMs: 60_000,
      signal: abort.signal,
    });
    await settle();
    abort.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
  });

  it('backs off exponentially with full jitter, capped', () => {
    expect([1, 2, 3, 4, 9].map((n) => backoffMs(n, half))).toEqual([12.5, 25, 50, 100, 125]);
    expect(backoffMs(5_000, half)).toBe(125);
  });

  it('knows the idempotent methods of RFC 9110', () => {
    expect(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'].every(isIdempotentMethod)).toBe(true);
    expect(['POST', 'PATCH', 'CONNECT', 'get', 'constructor'].some(isIdempotentMethod)).toBe(false);
  });

  it('refuses nonsense', async () => {
    await expect(retry(async () => 1, { maxAttempts: 0 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(retry(async () => 1, { maxAttempts: 6 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});

describe('RetryBudget', () => {
  it('in a full outage, retries stay within a fifth of the requests plus the reserve', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 0, max: 20 }),
        (requests, ratio, minRetryRate) => {
          const budget = new RetryBudget({ clock: new VirtualClock(), ratio, minRetryRate });
          let retries = 0;
          for (let n = 0; n < requests; n += 1) {
            budget.deposit();
            while (budget.withdraw()) retries += 1;
          }
          expect(retries).toBeLessThanOrEqual(requests * ratio + minRetryRate * 10);
        },
      ),
    );
  });

  it('a quiet client may retry, and a spent budget comes back with time', () => {
    const clock = new VirtualClock();
    const budget = new RetryBudget({ clock, minRetryRate: 1, ratio: 0 });
    for (let n = 0; n < 10; n += 1) expect(budget.withdraw()).toBe(true);
    expect(budget.withdraw()).toBe(false);
    clock.advance(11_000);
    expect(budget.withdraw()).toBe(true);
  });

  it('bounds the attempts of retry()', async () => {
    const budget = new RetryBudget({ clock: new VirtualClock(), minRetryRate: 0, ratio: 0.2 });
    let attempts = 0;
    for (let n = 0; n < 100; n += 1) {
      await retry(
        async () => {
          attempts += 1;
          throw busy();
        },
        { budget, random: none },
      ).catch(() => {});
    }
    expect(attempts).toBe(120);
  });
});

describe('Bulkhead', () => {
  it('never runs more than its room, serves the queue in order and refuses what is over it', async () => {
    const bulkhead = new Bulkhead({ name: 'reports', concurrency: 2, queue: 2 });
    const order: number[] = [];
    const releases: (() => void)[] = [];
    const job = (n: number) => (): Promise<void> => {
      order.push(n);
      return new Promise((resolve) => releases.push(resolve));
    };
    const running = [1, 2, 3, 4].map((n) => bulkhead.run(job(n)));
    await expect(bulkhead.run(job(5))).rejects.toMatchObject({ code: 'BULKHEAD_FULL', retryable: true });
    await settle();
    expect(order).toEqual([1, 2]);
    for (let n = 0; n < 4; n += 1) {
      releases.shift()?.();
      await settle();
      expect(bulkhead.running).toBeLessThanOrEqual(2);
    }
    await Promise.all(running);
    expect(order).toEqual([1, 2, 3, 4]);
    expect(bulkhead.running).toBe(0);
  });

  it('an aborted waiting call leaves the queue', async () => {
    const bulkhead = new Bulkhead({ concurrency: 1, queue: 1 });
    let release: () => void = () => {};
    const first = bulkhead.run(
      () =>
        new Promise<void>((resolve) => {
          release = resolve;
        }),
    );
    const abort = new AbortController();
    const second = bulkhead.run(async () => 'never', abort.signal);
    abort.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
    release();
    await first;
    expect(await bulkhead.run(async () => 'third')).toBe('third');
  });
});
