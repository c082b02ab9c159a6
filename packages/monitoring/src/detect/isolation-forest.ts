// Isolation forest: points that few random cuts separate from the rest are anomalies.

// Source: Liu, Ting, Zhou, "Isolation Forest", ICDM 2008. Section and equation numbers below are of that paper.

import { type Random, systemRandom } from '@heptad/core';
import { MonitoringError } from '../errors.ts';

/** A point; all points of one forest have the same number of coordinates. */
export type Point = readonly number[];

/** Options of {@link IsolationForest}. */
export interface IsolationForestOptions {
  /** Number of trees t. Default 100: path lengths converge well before it (§4.1). */
  readonly trees?: number;
  /** Points drawn for each tree, ψ. Default 256: enough for a large range of data (§4.1). */
  readonly sampleSize?: number;
  readonly random?: Random;
}

/** Most trees and points per tree: a million nodes are some 50 MB. */
const MAX_TREES = 1000;
const MAX_SAMPLE_SIZE = 4096;
const EULER = 0.5772156649015329;

/** An inner node cuts at `value` on coordinate `attribute`; a leaf knows how many points ended in it. */
type TreeNode =
  | { readonly attribute: number; readonly value: number; readonly left: TreeNode; readonly right: TreeNode }
  | { readonly size: number };

/**
 * c(n), equation 1: the average path length of an unsuccessful search in a binary search tree of n points, by which
 * path lengths are made comparable. H(i) is ln(i) + Euler's constant.
 */
export function averagePathLength(n: number): number {
  if (n <= 1) return 0;
  if (n === 2) return 1;
  return 2 * (Math.log(n - 1) + EULER) - (2 * (n - 1)) / n;
}

/**
 * Detects anomalies among points without labels.
 *
 * @example
 * ```ts
 * import { IsolationForest } from '@heptad/monitoring';
 *
 * const usual = Array.from({ length: 500 }, (_, i) => [Math.sin(i), Math.cos(i)]);
 * const forest = IsolationForest.fit(usual);
 * console.log(forest.score([0.9, 0.1]) < forest.score([6, -6])); // true
 * ```
 */
export class IsolationForest {
  readonly #trees: readonly TreeNode[];
  readonly #sampleSize: number;
  readonly #dimensions: number;

  private constructor(trees: readonly TreeNode[], sampleSize: number, dimensions: number) {
    this.#trees = trees;
    this.#sampleSize = sampleSize;
    this.#dimensions = dimensions;
  }

  /** Grows a forest from points (Algorithm 1). Throws `INVALID_ARGUMENT` for fewer than 2 points or unequal ones. */
  static fit(points: readonly Point[], options: IsolationForestOptions = {}): IsolationForest {
    const trees = inRange('trees', options.trees ?? 100, 1, MAX_TREES);
    const wanted = inRange('sampleSize', options.sampleSize ?? 256, 2, MAX_SAMPLE_SIZE);
    const random = options.random ?? systemRandom;
    const dimensions = points[0]?.length ?? 0;
    if (points.length < 2 || dimensions === 0) {
      throw new MonitoringError(
        'INVALID_ARGUMENT',
        `cannot grow an isolation forest from ${points.length} points of ${dimensions} coordinates`,
      );
    }
    for (const point of points) assertPoint(point, dimensions);
    const sampleSize = Math.min(wanted, points.length);
    // The trees are grown to the average height of such a tree (§5.1): anomalies are those that end above it.
    const heightLimit = Math.ceil(Math.log2(sampleSize));
    const grown = Array.from({ length: trees }, () =>
      grow(sample(points, sampleSize, random), 0, heightLimit, random),
    );
    return new IsolationForest(grown, sampleSize, dimensions);
  }

  /**
   * The anomaly score of a point (equation 2): near 1 is an anomaly, well below 0.5 is normal, all near 0.5 means that
   * nothing stands out.
   */
  score(point: Point): number {
    assertPoint(point, this.#dimensions);
    let total = 0;
    for (const tree of this.#trees) total += pathLength(point, tree);
    return 2 ** (-(total / this.#trees.length) / averagePathLength(this.#sampleSize));
  }
}

function inRange(name: string, value: number, from: number, to: number): number {
  if (Number.isInteger(value) && value >= from && value <= to) return value;
  throw new MonitoringError(
    'INVALID_ARGUMENT',
    `${name} must be a whole number from ${from} to ${to}, got ${value}`,
  );
}

function assertPoint(point: Point, dimensions: number): void {
  if (point.length === dimensions && point.every(Number.isFinite)) return;
  throw new MonitoringError(
    'INVALID_ARGUMENT',
    `a point must have ${dimensions} finite coordinates, got [${point.join(', ')}]`,
  );
}

/** Draws without replacement: the first steps of a Fisher-Yates shuffle. */
function sample(points: readonly Point[], size: number, random: Random): Point[] {
  const pool = points.slice();
  for (let index = 0; index < size; index++) {
    const other = index + random.integer(pool.length - index);
    const [a, b] = [pool[index], pool[other]];
    if (a !== undefined && b !== undefined) [pool[index], pool[other]] = [b, a];
  }
  return pool.slice(0, size);
}

/** Algorithm 2. Only coordinates that differ are cut: a cut of a constant one separates nothing. */
function grow(points: readonly Point[], height: number, limit: number, random: Random): TreeNode {
  if (height >= limit || points.length <= 1) return { size: points.length };
  const ranges = spread(points);
  const range = ranges[ranges.length === 0 ? 0 : random.integer(ranges.length)];
  if (range === undefined) return { size: points.length };
  const { attribute, low, high } = range;
  // Strictly above `low`, or the left side could be empty; drawing 0 is possible.
  const value = low + (1 - random.next()) * (high - low);
  const left = points.filter((point) => (point[attribute] ?? 0) < value);
  const right = points.filter((point) => (point[attribute] ?? 0) >= value);
  return {
    attribute,
    value,
    left: grow(left, height + 1, limit, random),
    right: grow(right, height + 1, limit, random),
  };
}

function spread(points: readonly Point[]): { attribute: number; low: number; high: number }[] {
  const out: { attribute: number; low: number; high: number }[] = [];
  for (let attribute = 0; attribute < (points[0]?.length ?? 0); attribute++) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const point of points) {
      const value = point[attribute] ?? 0;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (high > low) out.push({ attribute, low, high });
  }
  return out;
}

/** Algorithm 3: edges to the leaf, and c(size) for the subtree that was not grown. */
function pathLength(point: Point, tree: TreeNode): number {
  let node = tree;
  let edges = 0;
  while ('attribute' in node) {
    node = (point[node.attribute] ?? 0) < node.value ? node.left : node.right;
    edges++;
  }
  return edges + averagePathLength(node.size);
}
