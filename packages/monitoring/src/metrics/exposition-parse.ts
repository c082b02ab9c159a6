// The Prometheus text format, read (0.0.4, and OpenMetrics as far as it looks the same).

import { MonitoringError } from '../errors.ts';
import { parseFloatText } from '../query/value.ts';
import { type Labels, METRIC_NAME } from './labels.ts';
import { metricType } from './metric-log.ts';
import type { MetricMetadata, Sample } from './store-types.ts';

/** What a page of metrics says. */
export interface Exposition {
  readonly samples: Sample[];
  readonly metadata: Map<string, MetricMetadata>;
}

/**
 * Reads a page of metrics; samples without a time of their own get `now`. `extra` labels go on every sample, and a
 * label of the page with the same name is kept as `exported_<name>`, as Prometheus does.
 *
 * @throws `INVALID_PAYLOAD` naming the line.
 */
export function parseExposition(text: string, now: number, extra: Labels = {}): Exposition {
  const samples: Sample[] = [];
  const metadata = new Map<string, MetricMetadata>();
  const lines = text.split('\n');
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    if (line === '# EOF') break;
    if (line === '') continue;
    if (line.startsWith('#')) readComment(line, metadata);
    else samples.push(readSample(line, index + 1, now, extra));
  }
  return { samples, metadata };
}

function readComment(line: string, metadata: Map<string, MetricMetadata>): void {
  const match = /^#\s+(HELP|TYPE|UNIT)\s+(\S+)\s?(.*)$/.exec(line);
  if (match === null) return;
  const [, keyword, name = '', rest = ''] = match;
  const known = metadata.get(name) ?? { type: 'untyped', help: '', unit: '' };
  if (keyword === 'HELP') metadata.set(name, { ...known, help: unescapeText(rest) });
  else if (keyword === 'TYPE') metadata.set(name, { ...known, type: metricType(rest.trim()) });
  else metadata.set(name, { ...known, unit: rest.trim() });
}

function bad(line: number, why: string): MonitoringError {
  return new MonitoringError('INVALID_PAYLOAD', `cannot read the metrics page, line ${line}: ${why}`, {
    details: { line },
  });
}

function readSample(line: string, number: number, now: number, extra: Labels): Sample {
  const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
  if (name === undefined) throw bad(number, 'it does not begin with a metric name');
  let rest = line.slice(name.length).trimStart();
  const labels: Record<string, string> = { [METRIC_NAME]: name };
  if (rest.startsWith('{')) {
    const pair = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,)?/y;
    let index = 1;
    for (;;) {
      if (/^\s*\}/.test(rest.slice(index))) break;
      pair.lastIndex = index;
      const match = pair.exec(rest);
      if (match === null) throw bad(number, 'its labels are not written name="value"');
      labels[match[1] ?? ''] = unescapeText(match[2] ?? '');
      index = pair.lastIndex;
      if (match[3] === undefined && !/^\s*\}/.test(rest.slice(index)))
        throw bad(number, 'a comma or } is missing after a label');
    }
    rest = rest.slice(rest.indexOf('}', index) + 1).trimStart();
  }
  // An exemplar follows after " # "; it is not kept.
  const [valueText = '', timeText, ...more] = (rest.split(' # ')[0] ?? '')
    .split(/\s+/)
    .filter((part) => part !== '');
  const value = /^nan$/i.test(valueText) ? Number.NaN : parseFloatText(valueText);
  if (Number.isNaN(value) && !/^nan$/i.test(valueText)) throw bad(number, `"${valueText}" is not a number`);
  const at = timeText === undefined ? now : Number(timeText);
  if (!Number.isFinite(at) || more.length > 0)
    throw bad(number, 'what follows the value is not a time in milliseconds');
  return { labels: relabel(labels, extra), at: Math.round(at), value };
}

function relabel(labels: Record<string, string>, extra: Labels): Labels {
  for (const name of Object.keys(extra)) {
    if (labels[name] !== undefined) labels[`exported_${name}`] = labels[name];
  }
  return { ...labels, ...extra };
}

function unescapeText(text: string): string {
  return text.replace(/\\(.)/g, (whole, character: string) =>
    character === 'n' ? '\n' : /["\\]/.test(character) ? character : whole,
  );
}
