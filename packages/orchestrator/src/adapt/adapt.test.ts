import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Autoscaler, decideReplicas, type Recommendation } from './autoscaler.ts';
import { loadSignal } from './load-signals.ts';
import { optimizeResources, ResourceOptimizer } from './optimizer.ts';

describe('optimizeResources', () => {
  it.each([
    [0, 1, 1_000, 10],
    [1, 1, 1_500, 7],
    [0.5, 0.5, 625, 8],
    [0.2, 2, 2_200, 9],
  ])(
    'volatility %d, liquidity %d -> %d millicores, %d workers',
    (volatility, liquidity, cpuMillis, workers) => {
      const result = optimizeResources({ baseCpuMillis: 1_000, baseWorkers: 10, volatility, liquidity });
      expect(result).toEqual({ cpuMillis, workers });
    },
  );

  it('always leaves one worker and a CPU limit a container can have', () => {
    const signal = {
      volatility: fc.double({ min: 0, max: 1, noNaN: true }),
      liquidity: fc.double({ min: 0.001, max: 10, noNaN: true }),
    };
    fc.assert(
      fc.property(
        fc.record({
          ...signal,
          baseCpuMillis: fc.integer({ min: 1, max: 64_000 }),
          baseWorkers: fc.integer({ min: 1, max: 100 }),
        }),
        (input) => {
          const result = optimizeResources(input);
          expect(result.workers).toBeGreaterThanOrEqual(1);
          expect(result.workers).toBeLessThanOrEqual(input.baseWorkers);
          expect(result.cpuMillis).toBeGreaterThanOrEqual(10);
        },
      ),
    );
  });

  it.each([
    { volatility: Number.NaN, liquidity: 1 },
    { volatility: 1.1, liquidity: 1 },
    { volatility: 0, liquidity: 0 },
  ])('refuses the signal %j', (signal) => {
    expect(() => optimizeResources({ baseCpuMillis: 1, baseWorkers: 1, ...signal })).toThrow('cannot size');
  });
});

describe('ResourceOptimizer', () => {
  const optimizer = new ResourceOptimizer({
    signals: { read: async () => ({ volatility: 0.4, liquidity: 1.2 }) },
  });
  const decide = (strategy: string) =>
    optimizer.decide({ strategy, service: 'web', baseCpuMillis: 500, baseWorkers: 4 });

  it('goes further the bolder the strategy', async () => {
    const strategies = ['static', 'conservative', 'balanced', 'aggressive'];
    const cpu = await Promise.all(strategies.map(async (name) => (await decide(name)).cpuMillis));
    expect(cpu).toEqual([500, 550, 720, 840]);
  });

  it('says why', async () => {
    expect((await decide('balanced')).because).toBe(
      'strategy "balanced" took volatility 0.40 and liquidity 1.20: 500 -> 720 millicores, 4 -> 3 replicas',
    );
  });

  it('names the strategies there are', async () => {
    await expect(decide('reckless')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      hint: 'strategies: static, conservative, balanced, aggressive',
    });
  });
});

describe('loadSignal', () => {
  it('is roomy when idle, scarce when busy, restless when load swings', () => {
    expect(loadSignal([0, 0, 0], 4)).toEqual({ volatility: 0, liquidity: 1.5 });
    expect(loadSignal([8, 8, 8], 4)).toEqual({ volatility: 0, liquidity: 0.5 });
    expect(loadSignal([4, 2, 1], 4)).toEqual({ volatility: 0.5, liquidity: 0.5 });
  });
});

describe('decideReplicas', () => {
  const target = { service: 'web', target: 100, min: 1, max: 8 };
  const decide = (current: number, perReplica: number, history: readonly Recommendation[] = [], at = 0) =>
    decideReplicas(target, { current, perReplica, at, history }).replicas;

  it('goes up at once, in proportion, up to the maximum', () => {
    expect([decide(2, 150), decide(2, 300), decide(4, 1_000)]).toEqual([3, 6, 8]);
  });

  it('does nothing within ten percent of the target', () => {
    expect([decide(3, 91), decide(3, 110)]).toEqual([3, 3]);
  });

  it('goes down only after fewer were enough for five minutes', () => {
    expect(decide(4, 50, [{ at: 0, replicas: 4 }], 299_999)).toBe(4);
    expect(decide(4, 50, [{ at: 0, replicas: 4 }], 300_000)).toBe(2);
    expect(decide(4, 25, [{ at: 100_000, replicas: 3 }], 300_000)).toBe(3);
  });
});

describe('Autoscaler', () => {
  it('scales what it looks at, and leaves alone what was scaled to zero or has no figure', async () => {
    const replicas: Record<string, number> = { web: 2, off: 0, dark: 3 };
    const orchestrator = {
      get: async (name: string) => ({ spec: { replicas: replicas[name] ?? 0 } }),
      scale: async (name: string, count: number) => {
        replicas[name] = count;
      },
    };
    const targets = ['web', 'off', 'dark'].map((service) => ({ service, target: 100, min: 1, max: 9 }));
    const autoscaler = new Autoscaler({
      orchestrator,
      targets,
      metric: async (service) => (service === 'dark' ? undefined : 800),
    });
    await autoscaler.look();
    expect(replicas).toEqual({ web: 8, off: 0, dark: 3 });
  });
});
