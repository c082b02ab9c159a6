// The Prometheus text format, written: version 0.0.4.

import { formatValue } from '../query/value.ts';
import { METRIC_NAME } from './labels.ts';
import { isStale } from './stale.ts';
import type { MetricMetadata, Sample } from './store-types.ts';

/** The content type of {@link writeExposition}'s text. */
export const EXPOSITION_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Suffixes that belong to a family of another name. */
const FAMILY_SUFFIX = /_(?:bucket|sum|count)$/;
const VALID_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const VALID_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Writes samples as text, families together, each with HELP and TYPE where they are known. Times are left out. */
export function writeExposition(
  samples: Iterable<Sample>,
  metadata: ReadonlyMap<string, MetricMetadata>,
): string {
  const families = new Map<string, Sample[]>();
  for (const sample of samples) {
    const name = sample.labels[METRIC_NAME] ?? '';
    if (!VALID_METRIC.test(name) || isStale(sample.value)) continue;
    const family = familyOf(name, metadata);
    const known = families.get(family);
    if (known === undefined) families.set(family, [sample]);
    else known.push(sample);
  }
  let text = '';
  for (const family of [...families.keys()].sort()) {
    const about = metadata.get(family);
    if (about?.help)
      text += `# HELP ${family} ${about.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`;
    text += `# TYPE ${family} ${about?.type ?? 'untyped'}\n`;
    for (const sample of (families.get(family) ?? []).sort(compareSamples)) text += line(sample);
  }
  return text;
}

function familyOf(name: string, metadata: ReadonlyMap<string, MetricMetadata>): string {
  const base = name.replace(FAMILY_SUFFIX, '');
  const type = metadata.get(base)?.type;
  return base !== name && (type === 'histogram' || type === 'summary') ? base : name;
}

/** Buckets of a histogram belong together, in the order of their bounds, before its sum and count. */
function compareSamples(a: Sample, b: Sample): number {
  const [x, y] = [sortKey(a), sortKey(b)];
  if (x !== y) return x < y ? -1 : 1;
  return bound(a) - bound(b) || 0;
}

function sortKey({ labels }: Sample): string {
  const entries = Object.entries(labels).filter(([name]) => name !== 'le' && name !== METRIC_NAME);
  return `${JSON.stringify(entries.sort())}${labels[METRIC_NAME]}`;
}

function bound({ labels }: Sample): number {
  return labels.le === '+Inf' ? Number.MAX_VALUE : Number(labels.le ?? 0);
}

function line({ labels, value }: Sample): string {
  const inner = Object.entries(labels)
    .filter(([name]) => name !== METRIC_NAME && VALID_LABEL.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, text]) => `${name}="${escapeValue(text)}"`);
  const set = inner.length === 0 ? '' : `{${inner.join(',')}}`;
  return `${labels[METRIC_NAME]}${set} ${formatValue(value)}\n`;
}

function escapeValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
