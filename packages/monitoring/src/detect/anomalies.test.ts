import type { Random } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import type { SeriesData } from '../metrics/store-types.ts';
import { QueryEngine } from '../query/engine.ts';
import { findAnomalies } from './anomalies.ts';

const MINUTE = 60_000;
const NOW = 1_800_000_000_000;
const QUERIES = { rate: 'sum by (service) (rate_per_second)', latency: 'avg by (service) (latency_seconds)' };

function seeded(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const bytes = (length: number): Uint8Array => new Uint8Array(length);
  return { next, integer: (bound) => Math.floor(next() * bound), bytes, uuid: () => '' };
}

/** An hour of a gauge every 15 s. */
function series(name: string, service: string, value: (at: number) => number): SeriesData {
  const times = Float64Array.from({ length: 241 }, (_, i) => NOW - 60 * MINUTE + i * 15_000);
  return { labels: { __name__: name, service }, times, values: times.map(value) };
}

async function detect(seed: number, data: readonly SeriesData[]): Promise<string[]> {
  const engine = new QueryEngine({
    select: (matchers) => data.filter((s) => matchers.every((m) => s.labels[m.name] === m.value)),
  });
  const found = await findAnomalies(engine, NOW, { queries: QUERIES, random: seeded(seed) });
  return found.map((anomaly) => `${anomaly.service} ${anomaly.because.map((one) => one.metric).join(' ')}`);
}

describe('findAnomalies', () => {
  it.each([1, 2, 3, 4, 5])(
    'reports the service whose latency jumped, and no other (seed %i)',
    async (seed) => {
      const noise = seeded(seed);
      const found = await detect(seed, [
        series('rate_per_second', 'orders', () => 100 + noise.next() * 10),
        series('latency_seconds', 'orders', (at) => (at > NOW - MINUTE ? 2 : 0.05 + noise.next() / 100)),
        series('rate_per_second', 'catalog', () => 50 + noise.next() * 5),
        series('latency_seconds', 'catalog', () => 0.02 + noise.next() / 100),
      ]);
      expect(found).toEqual(['orders latency']);
    },
  );

  it('says nothing of services that are constant or too young', async () => {
    const young = series('rate_per_second', 'young', () => 5);
    const cut = { ...young, times: young.times.slice(-10), values: young.values.slice(-10) };
    expect(await detect(1, [series('rate_per_second', 'idle', () => 0), cut])).toEqual([]);
  });
});
