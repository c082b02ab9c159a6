// Function calls: the few that need more than one element, then the tables.

import { MonitoringError } from '../errors.ts';
import { compareNumbers } from './arithmetic.ts';
import type { Call } from './ast.ts';
import { typeOf } from './check.ts';
import type { Evaluator } from './evaluator.ts';
import { type Bucket, bucketFraction, bucketQuantile } from './histogram.ts';
import { absentLabels, labelJoin, labelReplace } from './label-functions.ts';
import { applyRangeFunction } from './range-functions.ts';
import { type Element, parseFloatText, type Value, type Vector } from './value.ts';
import { applyVectorFunction } from './vector-functions.ts';

function vectorValue(vector: Vector): Value {
  return { type: 'vector', vector };
}

/** Evaluates a call that was checked. */
export function callFunction(evaluator: Evaluator, node: Call, now: number): Value {
  const special = SPECIAL.get(node.name);
  if (special !== undefined) return special(evaluator, node, now);
  const vectorAt = node.arguments.findIndex(
    (argument) => typeOf(argument) === 'matrix' || typeOf(argument) === 'vector',
  );
  const operand = node.arguments[vectorAt];
  const scalars = node.arguments
    .filter((argument) => typeOf(argument) === 'scalar')
    .map((a) => evaluator.scalar(a, now));
  if (operand === undefined) {
    // Only the date functions may be called without an argument; they then mean the time of evaluation.
    return vectorValue(applyVectorFunction(node.name, [{ labels: {}, value: now / 1000 }], scalars) ?? []);
  }
  if (typeOf(operand) === 'matrix') return overRange(evaluator, node, now, scalars[0] ?? Number.NaN);
  const mapped = applyVectorFunction(node.name, evaluator.vector(operand, now), scalars) ?? [];
  return vectorValue(nameless(evaluator, mapped));
}

function nameless(evaluator: Evaluator, vector: Vector): Vector {
  return evaluator.assertDistinct(
    vector.map(
      (element): Element => ({ labels: evaluator.labels.dropName(element.labels), value: element.value }),
    ),
  );
}

function overRange(evaluator: Evaluator, node: Call, now: number, scalar: number): Value {
  const operand = node.arguments.find((argument) => typeOf(argument) === 'matrix');
  if (operand === undefined) return vectorValue([]);
  const matrix = evaluator.matrix(operand, now);
  const results = applyRangeFunction(node.name, matrix, now, scalar) ?? [];
  const vector = results.map(({ series, value }): Element => ({ labels: series.labels, value }));
  // The last sample is that sample, and keeps its name; everything else is a new quantity.
  return vectorValue(node.name === 'last_over_time' ? vector : nameless(evaluator, vector));
}

type Special = (evaluator: Evaluator, node: Call, now: number) => Value;

const SPECIAL: ReadonlyMap<string, Special> = new Map<string, Special>([
  ['time', (_evaluator, _node, now) => ({ type: 'scalar', value: now / 1000 })],
  ['pi', () => ({ type: 'scalar', value: Math.PI })],
  ['scalar', scalarOf],
  [
    'vector',
    (evaluator, node, now) => vectorValue([{ labels: {}, value: scalarAt(evaluator, node, 0, now) }]),
  ],
  ['sort', (evaluator, node, now) => vectorValue(sorted(vectorAt(evaluator, node, 0, now), 1))],
  ['sort_desc', (evaluator, node, now) => vectorValue(sorted(vectorAt(evaluator, node, 0, now), -1))],
  ['timestamp', timestamps],
  ['absent', (evaluator, node, now) => absent(node, vectorAt(evaluator, node, 0, now).length)],
  ['absent_over_time', absentOverTime],
  ['label_replace', replaceLabel],
  ['label_join', joinLabels],
  ['histogram_quantile', histogramQuantile],
  ['histogram_fraction', histogramFraction],
]);

function vectorAt(evaluator: Evaluator, node: Call, index: number, now: number): Vector {
  const argument = node.arguments[index];
  return argument === undefined ? [] : evaluator.vector(argument, now);
}

function scalarAt(evaluator: Evaluator, node: Call, index: number, now: number): number {
  const argument = node.arguments[index];
  return argument === undefined ? Number.NaN : evaluator.scalar(argument, now);
}

function scalarOf(evaluator: Evaluator, node: Call, now: number): Value {
  const [only, ...others] = vectorAt(evaluator, node, 0, now);
  return { type: 'scalar', value: only === undefined || others.length > 0 ? Number.NaN : only.value };
}

function sorted(vector: Vector, direction: 1 | -1): Vector {
  // NaN is last in both directions.
  return vector.toSorted((a, b) => {
    if (Number.isNaN(a.value) || Number.isNaN(b.value)) return -compareNumbers(a.value, b.value);
    return direction * compareNumbers(a.value, b.value);
  });
}

function timestamps(evaluator: Evaluator, node: Call, now: number): Value {
  const vector = vectorAt(evaluator, node, 0, now);
  return vectorValue(
    nameless(
      evaluator,
      vector.map(({ labels, sampledAt }) => ({ labels, value: (sampledAt ?? now) / 1000 })),
    ),
  );
}

function absent(node: Call, found: number): Value {
  const [argument] = node.arguments;
  if (found > 0 || argument === undefined) return vectorValue([]);
  return vectorValue([{ labels: absentLabels(argument), value: 1 }]);
}

function absentOverTime(evaluator: Evaluator, node: Call, now: number): Value {
  const [argument] = node.arguments;
  return absent(node, argument === undefined ? 0 : evaluator.matrix(argument, now).series.length);
}

function replaceLabel(evaluator: Evaluator, node: Call, now: number): Value {
  const [, target, template, source, pattern] = node.arguments.map((argument) => evaluator.text(argument));
  assertLabelName(node.name, target);
  const vector = vectorAt(evaluator, node, 0, now);
  return vectorValue(
    evaluator.assertDistinct(labelReplace(vector, target ?? '', template ?? '', source ?? '', pattern ?? '')),
  );
}

function joinLabels(evaluator: Evaluator, node: Call, now: number): Value {
  const [, target, separator, ...sources] = node.arguments.map((argument) => evaluator.text(argument));
  for (const name of [target, ...sources]) assertLabelName(node.name, name);
  const vector = vectorAt(evaluator, node, 0, now);
  return vectorValue(evaluator.assertDistinct(labelJoin(vector, target ?? '', separator ?? '', sources)));
}

function assertLabelName(call: string, name: string | undefined): void {
  if (name !== undefined && name !== '') return;
  throw new MonitoringError('QUERY_FAILED', `invalid label name in ${call}(): "${name ?? ''}"`);
}

function histogramQuantile(evaluator: Evaluator, node: Call, now: number): Value {
  const q = scalarAt(evaluator, node, 0, now);
  return overBuckets(evaluator, node, vectorAt(evaluator, node, 1, now), (buckets) =>
    bucketQuantile(q, buckets),
  );
}

function histogramFraction(evaluator: Evaluator, node: Call, now: number): Value {
  const lower = scalarAt(evaluator, node, 0, now);
  const upper = scalarAt(evaluator, node, 1, now);
  return overBuckets(evaluator, node, vectorAt(evaluator, node, 2, now), (b) =>
    bucketFraction(lower, upper, b),
  );
}

/** Gathers the `le` series of each histogram. Series without a readable `le` are no buckets and are left out. */
function overBuckets(
  evaluator: Evaluator,
  node: Call,
  vector: Vector,
  compute: (buckets: Bucket[]) => number,
): Value {
  const histograms = new Map<string, { labels: Element['labels']; buckets: Bucket[] }>();
  for (const { labels, value } of vector) {
    const upperBound = parseFloatText(labels.le ?? '');
    if (Number.isNaN(upperBound)) continue;
    const rest = evaluator.labels.group(node, labels, ['le'], false);
    const key = evaluator.labels.key(rest);
    const histogram = histograms.get(key);
    if (histogram === undefined)
      histograms.set(key, { labels: rest, buckets: [{ upperBound, count: value }] });
    else histogram.buckets.push({ upperBound, count: value });
  }
  return vectorValue(
    [...histograms.values()].map(({ labels, buckets }) => ({ labels, value: compute(buckets) })),
  );
}
