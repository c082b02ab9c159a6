// OpenTelemetry names to Prometheus names and labels.

// Source: OpenTelemetry specification, "Prometheus and OpenMetrics compatibility"; unit table of
// prometheus/otlptranslator. `http.server.request.duration` in `s` becomes http_server_request_duration_seconds.

import type { Labels } from '../metrics/labels.ts';
import { MAX_VALUE_LENGTH } from '../metrics/labels.ts';
import type { Attributes, AttributeValue } from './otlp-model.ts';

const UNITS: Readonly<Record<string, string>> = {
  d: 'days',
  h: 'hours',
  min: 'minutes',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  TiBy: 'tibibytes',
  KBy: 'kilobytes',
  MBy: 'megabytes',
  GBy: 'gigabytes',
  TBy: 'terabytes',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams',
  Cel: 'celsius',
  Hz: 'hertz',
  '%': 'percent',
};

const PER_UNITS: Readonly<Record<string, string>> = {
  s: 'second',
  m: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
};

function tokens(text: string): string[] {
  return text.split(/[^a-zA-Z0-9:]+/).filter((token) => token !== '');
}

function unitTokens(unit: string): string[] {
  const [main = '', per] = unit.replace(/\{[^}]*\}/g, '').split('/');
  const out = tokens(UNITS[main.trim()] ?? (main.trim() === '1' ? '' : main));
  const perName = per === undefined ? [] : tokens(PER_UNITS[per.trim()] ?? per);
  return perName.length === 0 ? out : [...out, 'per', ...perName];
}

/** The Prometheus name of a metric; counters end in `_total`, dimensionless gauges in `_ratio`. */
export function prometheusName(name: string, unit: string, kind: 'counter' | 'gauge' | 'other'): string {
  const words = tokens(name);
  const suffix = unitTokens(unit);
  const last = words.at(-1) === 'total' && kind === 'counter' ? words.splice(-1) : [];
  for (const token of suffix) if (!words.includes(token)) words.push(token);
  if (kind === 'counter') words.push(last[0] ?? 'total');
  else if (kind === 'gauge' && unit === '1' && words.at(-1) !== 'ratio') words.push('ratio');
  const joined = words.join('_');
  return /^\d/.test(joined) ? `_${joined}` : joined;
}

/** The Prometheus name of an attribute. */
export function labelName(key: string): string {
  const name = key.replace(/[^a-zA-Z0-9_]/g, '_');
  return /^\d/.test(name) ? `key_${name}` : name;
}

/** An attribute's value as label text. */
export function labelValue(value: AttributeValue): string {
  if (typeof value === 'string') return value.slice(0, MAX_VALUE_LENGTH);
  return value === null ? '' : JSON.stringify(value).slice(0, MAX_VALUE_LENGTH);
}

/** Resource attributes that identify where a series comes from and become labels of every series. */
const IDENTITY: Readonly<Record<string, string>> = {
  'service.name': 'service',
  'service.namespace': 'namespace',
  'service.instance.id': 'instance',
  'host.name': 'host',
  'container.id': 'container',
  'deployment.environment.name': 'environment',
  'heptad.node': 'node',
  'heptad.center': 'center',
};

/** Labels for all series of a resource, and the labels of its `target_info`. */
export function resourceLabels(resource: Attributes): { identity: Labels; info: Labels } {
  const identity: Record<string, string> = {};
  const info: Record<string, string> = {};
  for (const [key, value] of Object.entries(resource)) {
    const label = IDENTITY[key];
    if (label === undefined) info[labelName(key)] = labelValue(value);
    else identity[label] = labelValue(value);
  }
  return { identity, info: { ...info, ...identity } };
}

/** Labels of a point: its attributes, under the resource's identity, which wins. */
export function pointLabels(attributes: Attributes, identity: Labels): Labels {
  const out: Record<string, string> = {};
  for (const key of Object.keys(attributes).sort()) {
    const name = labelName(key);
    const value = labelValue(attributes[key] ?? null);
    // Two attributes may map to one label; the specification joins them.
    const known = out[name];
    out[name] = known === undefined ? value : `${known};${value}`;
  }
  return { ...out, ...identity };
}
