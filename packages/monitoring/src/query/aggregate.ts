// sum by (…), topk(…) and the other aggregations over one instant vector.

import { MonitoringError } from '../errors.ts';
import type { Labels } from '../metrics/labels.ts';
import { CompensatedSum, mean, quantile, variance } from './arithmetic.ts';
import type { Aggregation } from './ast.ts';
import type { LabelCache } from './label-cache.ts';
import { type Element, formatValue, type Vector } from './value.ts';

interface Group {
  readonly labels: Labels;
  readonly elements: Element[];
}

/** Aggregates. `parameter` is the evaluated first argument, where the operator has one. */
export function aggregate(
  node: Aggregation,
  vector: Vector,
  parameter: number | string | undefined,
  cache: LabelCache,
): Vector {
  const source = node.operator === 'count_values' ? labelWithValue(vector, parameter) : vector;
  const groups = new Map<string, Group>();
  const grouping =
    node.operator === 'count_values' && !node.without ? [...node.grouping, String(parameter)] : node.grouping;
  for (const element of source) {
    const labels = cache.group(node, element.labels, grouping, !node.without);
    const key = cache.key(labels);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { labels, elements: [element] });
    else group.elements.push(element);
  }
  if (node.operator === 'topk' || node.operator === 'bottomk') {
    const count = wholeParameter(node.operator, parameter);
    return [...groups.values()].flatMap((group) => extremes(group.elements, count, node.operator === 'topk'));
  }
  const scalar = typeof parameter === 'number' ? parameter : Number.NaN;
  return [...groups.values()].map(({ labels, elements }) => ({
    labels,
    value: reduce(
      node.operator,
      elements.map((element) => element.value),
      scalar,
    ),
  }));
}

function wholeParameter(operator: string, parameter: number | string | undefined): number {
  const count = typeof parameter === 'number' ? parameter : Number.NaN;
  if (Number.isNaN(count))
    throw new MonitoringError('QUERY_FAILED', `cannot evaluate ${operator}: its parameter is NaN`);
  if (Math.abs(count) >= 2 ** 63) {
    throw new MonitoringError(
      'QUERY_FAILED',
      `cannot evaluate ${operator}: its parameter ${count} overflows a 64-bit integer`,
    );
  }
  return Math.max(0, Math.trunc(count));
}

function extremes(elements: readonly Element[], count: number, largest: boolean): Element[] {
  // NaN is the worst in both directions.
  const sorted = elements.toSorted((a, b) => {
    if (Number.isNaN(a.value) || Number.isNaN(b.value))
      return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
    return (largest ? b.value - a.value : a.value - b.value) || 0;
  });
  return sorted.slice(0, count);
}

function labelWithValue(vector: Vector, name: number | string | undefined): Vector {
  const label = String(name);
  if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label)) {
    throw new MonitoringError('QUERY_FAILED', `cannot evaluate count_values: "${label}" is not a label name`);
  }
  return vector.map(({ labels, value }) => ({ value, labels: { ...labels, [label]: formatValue(value) } }));
}

function reduce(operator: Aggregation['operator'], values: readonly number[], parameter: number): number {
  switch (operator) {
    case 'sum': {
      const sum = new CompensatedSum();
      for (const value of values) sum.add(value);
      return sum.value;
    }
    case 'avg':
      return mean(values);
    case 'min':
      return values.reduce((best, value) => (value < best || Number.isNaN(best) ? value : best));
    case 'max':
      return values.reduce((best, value) => (value > best || Number.isNaN(best) ? value : best));
    case 'group':
      return 1;
    case 'stddev':
      return Math.sqrt(variance(values));
    case 'stdvar':
      return variance(values);
    case 'quantile':
      return quantile(parameter, values);
    default:
      // count, count_values; topk and bottomk never come here.
      return values.length;
  }
}
