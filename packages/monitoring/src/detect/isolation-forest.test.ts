import { isHeptadError, type Random } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { averagePathLength, IsolationForest, type Point } from './isolation-forest.ts';

/** mulberry32: small, seeded, good enough to test with. */
function seeded(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    integer: (bound) => Math.floor(next() * bound),
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)),
    uuid: () => '00000000-0000-7000-8000-000000000000',
  };
}

function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}

/**
 * Mulcross (Rocke and Woodruff 1996), as the isolation forest paper uses it: d-dimensional normal data, 10% anomalies in
 * two tight clusters at a distance.
 */
function mulcross(random: Random, count: number, dimensions: number): { point: Point; anomaly: boolean }[] {
  const distance = 2 * Math.sqrt(dimensions);
  return Array.from({ length: count }, (_, index) => {
    const anomaly = index % 10 === 0;
    const cluster = index % 20 === 0 ? 1 : -1;
    const shift = (d: number): number => (anomaly ? (d === 0 ? distance * cluster : distance / 2) : 0);
    const width = anomaly ? 0.3 : 1;
    return {
      anomaly,
      point: Array.from({ length: dimensions }, (_v, d) => gaussian(random) * width + shift(d)),
    };
  });
}

/** Area under the ROC curve: the chance that an anomaly scores above a normal point. */
function auroc(scored: readonly { score: number; anomaly: boolean }[]): number {
  const sorted = scored.toSorted((a, b) => a.score - b.score);
  let ranks = 0;
  let anomalies = 0;
  sorted.forEach(({ anomaly }, index) => {
    if (!anomaly) return;
    anomalies++;
    ranks += index + 1;
  });
  return (ranks - (anomalies * (anomalies + 1)) / 2) / (anomalies * (scored.length - anomalies));
}

describe('averagePathLength', () => {
  it('is c(n) of the paper', () => {
    expect(averagePathLength(1)).toBe(0);
    expect(averagePathLength(2)).toBe(1);
    expect(averagePathLength(256)).toBeCloseTo(10.2448, 3);
  });
});

describe('IsolationForest', () => {
  it('finds the anomalies of Mulcross', () => {
    const random = seeded(7);
    const data = mulcross(random, 4000, 4);
    const forest = IsolationForest.fit(
      data.map(({ point }) => point),
      { random },
    );
    const area = auroc(data.map(({ point, anomaly }) => ({ anomaly, score: forest.score(point) })));
    // The paper's table 3 has 0.97 for its own Mulcross of 262,144 points.
    expect(area).toBeGreaterThan(0.95);
  });

  it('scores all of a uniform cloud near one half, and a far point near one', () => {
    const random = seeded(1);
    const points = Array.from({ length: 1000 }, () => [random.next(), random.next()]);
    const forest = IsolationForest.fit(points, { random });
    const scores = points.map((point) => forest.score(point));
    expect(scores.reduce((sum, score) => sum + score) / scores.length).toBeGreaterThan(0.4);
    expect(scores.reduce((sum, score) => sum + score) / scores.length).toBeLessThan(0.55);
    const withOutlier = IsolationForest.fit([...points.slice(0, 255), [50, -50]], { random });
    expect(withOutlier.score([50, -50])).toBeGreaterThan(0.75);
  });

  it('gives the same scores for the same seed', () => {
    const points = Array.from({ length: 300 }, (_, i) => [Math.sin(i), i % 7]);
    const [a, b] = [seeded(3), seeded(3)].map((random) => IsolationForest.fit(points, { random }));
    expect(a?.score([0, 3])).toBe(b?.score([0, 3]));
  });

  it('stays within 0 and 1 on points that are all the same', () => {
    const forest = IsolationForest.fit(
      Array.from({ length: 300 }, () => [1, 2]),
      { random: seeded(1) },
    );
    expect(forest.score([1, 2])).toBeCloseTo(0.5, 5);
  });

  it('refuses points of unequal size and says so', () => {
    try {
      IsolationForest.fit([[1], [1, 2]]);
      expect.unreachable();
    } catch (error) {
      expect(isHeptadError(error, 'INVALID_ARGUMENT') && error.message).toMatch(/1 finite coordinates/);
    }
  });
});
