// Operators between instant vectors: pairing series by their labels, as Prometheus pairs them.

import { MonitoringError } from '../errors.ts';
import { formatLabels, type Labels, METRIC_NAME } from '../metrics/labels.ts';
import { applyOperator, compareWith } from './arithmetic.ts';
import { type Binary, isComparison, type VectorMatching } from './ast.ts';
import type { LabelCache } from './label-cache.ts';
import type { Element, Vector } from './value.ts';

/** `vector operator scalar`, or `scalar operator vector` when `swapped`. */
export function vectorWithScalar(
  node: Binary,
  vector: Vector,
  scalar: number,
  swapped: boolean,
  cache: LabelCache,
): Vector {
  const comparison = isComparison(node.operator);
  const out: Element[] = [];
  for (const { labels, value } of vector) {
    const [left, right] = swapped ? [scalar, value] : [value, scalar];
    if (!comparison) {
      out.push({ labels: cache.dropName(labels), value: applyOperator(node.operator, left, right) });
    } else if (node.returnBool) {
      out.push({ labels: cache.dropName(labels), value: compareWith(node.operator, left, right) ? 1 : 0 });
    } else if (compareWith(node.operator, left, right)) {
      out.push({ labels, value });
    }
  }
  return out;
}

/** `and`, `or`, `unless`. */
export function setOperation(node: Binary, left: Vector, right: Vector, cache: LabelCache): Vector {
  const signature = (element: Element): string => signatureOf(node.matching, element.labels, cache);
  const rightKeys = new Set(right.map(signature));
  if (node.operator === 'and') return left.filter((element) => rightKeys.has(signature(element)));
  if (node.operator === 'unless') return left.filter((element) => !rightKeys.has(signature(element)));
  const leftKeys = new Set(left.map(signature));
  return [...left, ...right.filter((element) => !leftKeys.has(signature(element)))];
}

/** Arithmetic and comparison between two vectors. Throws `QUERY_FAILED` when the pairing is ambiguous. */
export function vectorWithVector(node: Binary, left: Vector, right: Vector, cache: LabelCache): Vector {
  const { matching } = node;
  const oneIsLeft = matching.cardinality === 'one-to-many';
  const [many, one] = oneIsLeft ? [right, left] : [left, right];
  const partners = partnersOf(matching, one, oneIsLeft ? 'left' : 'right', cache);
  const used = new Map<string, Set<string>>();
  const out: Element[] = [];
  for (const element of many) {
    const signature = signatureOf(matching, element.labels, cache);
    const partner = partners.get(signature);
    if (partner === undefined) continue;
    const [l, r] = oneIsLeft ? [partner.value, element.value] : [element.value, partner.value];
    const value = outcome(node, l, r);
    // An ambiguous pair is an error even when a comparison filters it away, or the error would come and go.
    if (matching.cardinality === 'one-to-one') claim(used, signature, matching, '');
    if (value === undefined) continue;
    const labels = resultLabels(node, element.labels, partner.labels, cache);
    if (matching.cardinality !== 'one-to-one') claim(used, signature, matching, cache.key(labels));
    out.push({ labels, value });
  }
  return out;
}

function outcome(node: Binary, left: number, right: number): number | undefined {
  if (!isComparison(node.operator)) return applyOperator(node.operator, left, right);
  const holds = compareWith(node.operator, left, right);
  if (node.returnBool) return holds ? 1 : 0;
  return holds ? left : undefined;
}

function signatureOf(matching: VectorMatching, labels: Labels, cache: LabelCache): string {
  return cache.key(cache.group(matching, labels, matching.labels, matching.on));
}

function partnersOf(
  matching: VectorMatching,
  one: Vector,
  side: string,
  cache: LabelCache,
): Map<string, Element> {
  const partners = new Map<string, Element>();
  for (const element of one) {
    const signature = signatureOf(matching, element.labels, cache);
    const other = partners.get(signature);
    if (other !== undefined) {
      const group = formatLabels(cache.group(matching, element.labels, matching.labels, matching.on));
      throw new MonitoringError(
        'QUERY_FAILED',
        `found duplicate series for the match group ${group} on the ${side} hand-side of the operation: ` +
          `[${formatLabels(other.labels)}, ${formatLabels(element.labels)}]; many-to-many matching not allowed: ` +
          'matching labels must be unique on one side',
        { hint: 'name the labels that pair the series with on (…), or aggregate that side first' },
      );
    }
    partners.set(signature, element);
  }
  return partners;
}

/** Throws when this result would occur twice. */
function claim(
  used: Map<string, Set<string>>,
  signature: string,
  matching: VectorMatching,
  key: string,
): void {
  const known = used.get(signature);
  if (known === undefined) {
    used.set(signature, new Set([key]));
    return;
  }
  if (matching.cardinality === 'one-to-one') {
    throw new MonitoringError(
      'QUERY_FAILED',
      'multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)',
    );
  }
  if (known.has(key)) {
    throw new MonitoringError(
      'QUERY_FAILED',
      'multiple matches for labels: grouping labels must ensure unique matches',
    );
  }
  known.add(key);
}

function resultLabels(node: Binary, many: Labels, one: Labels, cache: LabelCache): Labels {
  const { matching } = node;
  const named = isComparison(node.operator) && !node.returnBool;
  const base = named ? many : cache.dropName(many);
  if (matching.cardinality === 'one-to-one') {
    // Under `on` exactly the named labels remain, the metric's name among them only when it is named.
    if (matching.on) return cache.group(matching, base, matching.labels, true);
    if (!named) return cache.group(matching, base, matching.labels, false);
    const kept = cache.group(matching, base, matching.labels, false);
    const name = base[METRIC_NAME];
    return name === undefined ? kept : { ...kept, [METRIC_NAME]: name };
  }
  if (matching.include.length === 0) return base;
  const out: Record<string, string> = { ...base };
  for (const label of matching.include) {
    const value = one[label];
    if (value === undefined) delete out[label];
    else out[label] = value;
  }
  return out;
}
