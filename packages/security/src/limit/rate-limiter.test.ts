import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../test/support.ts';
import { RateLimiter, rateLimitHeaders } from './rate-limiter.ts';

/** A leaky bucket in exact integers: what GCRA must be equal to. The bucket drains one request per interval. */
class ReferenceBucket {
  #level = 0n;
  #at = 0n;
  readonly #interval: bigint;
  readonly #burst: bigint;

  constructor(intervalMicros: number, burst: number) {
    this.#interval = BigInt(intervalMicros);
    this.#burst = BigInt(burst);
  }

  check(nowMicros: number, cost: number): { allowed: boolean; remaining: number } {
    const now = BigInt(nowMicros);
    const drained = this.#level - (now - this.#at);
    this.#level = drained > 0n ? drained : 0n;
    this.#at = now;
    const allowed = this.#level + BigInt(cost) * this.#interval <= this.#burst * this.#interval;
    if (allowed) this.#level += BigInt(cost) * this.#interval;
    return { allowed, remaining: Number((this.#burst * this.#interval - this.#level) / this.#interval) };
  }
}

describe('RateLimiter', () => {
  it('equals an exact leaky bucket for any rate, burst and sequence of requests of several clients', () => {
    const request = fc.record({
      waitMs: fc.integer({ min: 0, max: 3_000 }),
      cost: fc.integer({ min: 0, max: 4 }),
      client: fc.integer({ min: 0, max: 12 }),
    });
    const requests = fc.array(request, { minLength: 20, maxLength: 100 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.integer({ min: 1, max: 20 }),
        requests,
        (limit, burst, sequence) => {
          const clock = new ManualClock();
          const limiter = new RateLimiter({ limit, periodMs: 10_000, burst, clock });
          const references = new Map<number, ReferenceBucket>();
          for (const { waitMs, cost, client } of sequence) {
            clock.advance(waitMs);
            const known = references.get(client) ?? new ReferenceBucket(Math.ceil(10_000_000 / limit), burst);
            references.set(client, known);
            const { allowed, remaining } = limiter.check(`client-${client}`, cost);
            expect({ allowed, remaining }).toEqual(known.check(clock.monotonicMs() * 1_000, cost));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('allows exactly what it promised after retryAfter, and not a moment sooner', () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ limit: 6, periodMs: 60_000, burst: 2, clock });
    expect([1, 2, 3].map(() => limiter.check('a').allowed)).toEqual([true, true, false]);
    const { retryAfterMs, resetAfterMs } = limiter.check('a');
    expect([retryAfterMs, resetAfterMs]).toEqual([10_000, 20_000]);
    clock.advance(retryAfterMs - 1);
    expect(limiter.check('a').allowed).toBe(false);
    clock.advance(1);
    expect(limiter.check('a').allowed).toBe(true);
    expect(limiter.check('b').remaining).toBe(1);
    expect(limiter.check('b', 3).retryAfterMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('never lets more than rate times time plus burst through in any window', () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ limit: 100, periodMs: 1_000, burst: 10, clock });
    const allowedAt: number[] = [];
    for (let step = 0; step < 4_000; step += 1) {
      if (limiter.check('c').allowed) allowedAt.push(clock.now());
      clock.advance(1);
    }
    for (const start of allowedAt) {
      const inWindow = allowedAt.filter((at) => at >= start && at < start + 500).length;
      expect(inWindow).toBeLessThanOrEqual(10 + 50);
    }
  });

  it('stays within its memory, and a flood of names cannot make it forget a debt', () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ limit: 1, periodMs: 60_000, burst: 1, maxClients: 10, clock });
    expect(limiter.check('attacker').allowed).toBe(true);
    const allowed = Array.from({ length: 1_000 }, (_, index) => limiter.check(`name-${index}`).allowed);
    expect(limiter.size).toBeLessThanOrEqual(11);
    expect(allowed.filter(Boolean)).toHaveLength(10);
    expect(limiter.check('attacker').allowed).toBe(false);
    clock.advance(120_000);
    for (let index = 0; index < 20; index += 1) limiter.check('attacker', 0);
    expect(limiter.size).toBe(0);
  });

  it('gives back what is refunded', () => {
    const limiter = new RateLimiter({ limit: 1, burst: 1, clock: new ManualClock() });
    limiter.check('a');
    limiter.refund('a');
    expect(limiter.check('a').allowed).toBe(true);
  });

  it('tells clients in headers', () => {
    const limiter = new RateLimiter({ limit: 60, burst: 1, clock: new ManualClock() });
    limiter.check('a');
    expect(rateLimitHeaders(limiter.check('a'))).toEqual({
      RateLimit: '"default";r=0;t=1',
      'RateLimit-Policy': '"default";q=1',
      'Retry-After': '1',
    });
  });

  it('refuses limits that mean nothing', () => {
    for (const options of [
      { limit: 0 },
      { limit: 1.5 },
      { limit: Number.NaN },
      { limit: 1, periodMs: 0 },
      { limit: 1, burst: 0 },
    ]) {
      expect(() => new RateLimiter(options)).toThrow(/cannot make a rate limiter/);
    }
  });
});
