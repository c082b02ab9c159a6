import type { Random } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../testing/virtual-clock.ts';
import type { Balancer, BalanceTarget } from './balancer.ts';
import { createBalancer } from './create.ts';
import { LeastConnectionsBalancer } from './least-connections.ts';
import { PeakEwmaBalancer } from './peak-ewma.ts';
import { RoundRobinBalancer } from './round-robin.ts';
import { WeightedBalancer } from './weighted.ts';

interface Target extends BalanceTarget {
  inFlight: number;
}

function targets(weights: readonly number[]): Target[] {
  return weights.map((weight, index) => ({ id: `t${index}`, weight, inFlight: 0 }));
}

/** A seeded generator (mulberry32), so that a failing run can be repeated. */
function seeded(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    next,
    integer: (bound) => Math.floor(next() * bound),
    bytes: (n) => new Uint8Array(n),
    uuid: () => '',
  };
}

function share(balancer: Balancer, among: readonly Target[], picks: number): number[] {
  const counts = among.map(() => 0);
  for (let n = 0; n < picks; n += 1) {
    const target = balancer.pick(among);
    const index = target === undefined ? -1 : among.indexOf(target as Target);
    counts[index] = (counts[index] ?? 0) + 1;
  }
  return counts;
}

const all = ['round-robin', 'weighted', 'least-connections', 'p2c-least-connections', 'peak-ewma'] as const;

describe.each(all)('%s', (name) => {
  it('picks one of the targets with a weight, or none when there is none', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const balancer = createBalancer(name, { clock: new VirtualClock(), random: seeded(seed) });
          const among = targets(weights);
          for (let n = 0; n < 20; n += 1) {
            const picked = balancer.pick(among);
            if (weights.every((weight) => weight === 0)) expect(picked).toBeUndefined();
            else {
              expect(picked?.weight).toBeGreaterThan(0);
              expect(among).toContain(picked);
            }
          }
        },
      ),
    );
  });

  it('gives every target of equal weight work (within its randomness)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 10 }), fc.integer(), (count, seed) => {
        const balancer = createBalancer(name, { clock: new VirtualClock(), random: seeded(seed) });
        const counts = share(balancer, targets(Array(count).fill(1)), 400 * count);
        for (const picks of counts) expect(Math.abs(picks - 400)).toBeLessThan(120);
      }),
      { numRuns: 30 },
    );
  });

  it('survives endpoints that come and go', () => {
    const balancer = createBalancer(name, { clock: new VirtualClock(), random: seeded(1) });
    const among = targets([1, 1, 1]);
    expect(balancer.pick(among)).toBeDefined();
    expect(balancer.pick(among.slice(2))).toBe(among[2]);
    expect(balancer.pick([])).toBeUndefined();
    expect(balancer.pick(among.slice(0, 1))).toBe(among[0]);
  });
});

describe('RoundRobinBalancer', () => {
  it('goes round in order', () => {
    const balancer = new RoundRobinBalancer();
    const among = targets([1, 1, 1]);
    expect(Array.from({ length: 6 }, () => balancer.pick(among)?.id)).toEqual([
      't0',
      't1',
      't2',
      't0',
      't1',
      't2',
    ]);
  });
});

describe('WeightedBalancer', () => {
  it('is exactly proportional over each full round, and smooth within it', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 }), (weights) => {
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        expect(share(new WeightedBalancer(), targets(weights), total * 3)).toEqual(
          weights.map((weight) => weight * 3),
        );
      }),
    );
    const balancer = new WeightedBalancer();
    const among = targets([5, 1, 1]);
    const order = Array.from({ length: 7 }, () => balancer.pick(among)?.id).join(' ');
    expect(order).toBe('t0 t0 t1 t0 t2 t0 t0');
  });
});

describe('LeastConnectionsBalancer', () => {
  it('keeps loads level when nothing ends', () => {
    const balancer = new LeastConnectionsBalancer();
    const among = targets([1, 1, 1, 1]);
    for (let n = 0; n < 403; n += 1) {
      const picked = balancer.pick(among);
      if (picked) picked.inFlight += 1;
    }
    const loads = among.map((target) => target.inFlight);
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
  });

  it('two choices keep the longest queue short (random alone does not)', () => {
    const balancer = new LeastConnectionsBalancer({ choices: 2, random: seeded(7) });
    const among = targets(Array(100).fill(1));
    for (let n = 0; n < 1_000; n += 1) {
      const picked = balancer.pick(among);
      if (picked) picked.inFlight += 1;
    }
    expect(Math.max(...among.map((target) => target.inFlight))).toBeLessThanOrEqual(13);
  });
});

describe('PeakEwmaBalancer', () => {
  it('moves traffic away from a slow target and back when it has recovered', () => {
    const clock = new VirtualClock();
    const balancer = new PeakEwmaBalancer({ clock, random: seeded(3) });
    const among = targets([1, 1, 1, 1]);
    for (const target of among) balancer.observe(target, 5, false);
    balancer.observe(among[0] as Target, 500, false);
    expect(share(balancer, among, 400)[0]).toBe(0);
    clock.advance(120_000);
    // The others go on answering in 5 ms; by now the one slow answer is forgotten.
    for (const target of among.slice(1)) balancer.observe(target, 5, false);
    expect(share(balancer, among, 400)[0]).toBeGreaterThan(0);
  });

  it('a target that fails fast does not attract the traffic', () => {
    const clock = new VirtualClock();
    const balancer = new PeakEwmaBalancer({ clock, random: seeded(3) });
    const among = targets(Array(10).fill(1));
    let toFailing = 0;
    for (let n = 0; n < 10_000; n += 1) {
      const picked = balancer.pick(among);
      if (picked === undefined) continue;
      const failing = picked === among[0];
      if (failing) toFailing += 1;
      clock.advance(1);
      balancer.observe(picked, failing ? 0.1 : 10, failing);
    }
    expect(toFailing / 10_000).toBeLessThan(0.02);
  });
});

describe('createBalancer', () => {
  it('refuses a name it does not know, naming those it does', () => {
    expect(() => createBalancer('magic')).toThrow('there is no balancer "magic"');
    expect(() => createBalancer('constructor')).toThrow('there is no balancer');
  });
});
