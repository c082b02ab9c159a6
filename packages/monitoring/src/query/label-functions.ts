// label_replace, label_join and the labels that absent() invents.

import { type Labels, METRIC_NAME } from '../metrics/labels.ts';
import { type Captures, compileCaptures } from '../metrics/regex.ts';
import { type Expression, unwrap } from './ast.ts';
import type { Vector } from './value.ts';

/** Sets a label from what a regular expression caught in another one. */
export function labelReplace(
  vector: Vector,
  target: string,
  template: string,
  source: string,
  pattern: string,
): Vector {
  const match = compileCaptures(pattern);
  return vector.map((element) => {
    const captures = match(element.labels[source] ?? '');
    if (captures === undefined) return element;
    return { ...element, labels: withLabel(element.labels, target, expand(template, captures)) };
  });
}

/** Sets a label to the values of others, joined. */
export function labelJoin(
  vector: Vector,
  target: string,
  separator: string,
  sources: readonly string[],
): Vector {
  return vector.map((element) => {
    const joined = sources.map((source) => element.labels[source] ?? '').join(separator);
    return { ...element, labels: withLabel(element.labels, target, joined) };
  });
}

function withLabel(labels: Labels, name: string, value: string): Labels {
  const out: Record<string, string> = { ...labels };
  if (value === '') delete out[name];
  else out[name] = value;
  return out;
}

/** Go's `Regexp.Expand`: `$1`, `${1}`, `$name`, `$$`; the longest possible name is taken, an unknown one is empty. */
function expand(template: string, { groups, names }: Captures): string {
  return template.replace(/\$(?:\$|(\w+)|\{(\w+)\})/g, (whole, bare?: string, braced?: string) => {
    if (whole === '$$') return '$';
    const name = bare ?? braced ?? '';
    const index = /^\d+$/.test(name) ? Number(name) : names.get(name);
    return (index === undefined ? undefined : groups[index]) ?? '';
  });
}

/** The labels of what a selector would have selected: those it demands exactly and once. */
export function absentLabels(expression: Expression): Labels {
  const inner = unwrap(expression);
  const selector = inner.kind === 'matrix-selector' ? inner.selector : inner;
  if (selector.kind !== 'vector-selector') return {};
  const out: Record<string, string> = {};
  const seen = new Set<string>();
  for (const { name, operator, value } of selector.matchers) {
    if (name === METRIC_NAME) continue;
    if (operator === '=' && !seen.has(name)) out[name] = value;
    else delete out[name];
    seen.add(name);
  }
  return out;
}
