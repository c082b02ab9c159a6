// Label sets: what a valid one is, and one text that is equal exactly when two sets are.

import { MonitoringError } from '../errors.ts';

/** Label names and values; `__name__` is the metric's name. A label with an empty value is the same as none. */
export type Labels = Readonly<Record<string, string>>;

/** The label that holds the metric's name. */
export const METRIC_NAME = '__name__';

/** More labels than this on one series is a mistake of the producer (a request id as label, mostly). */
export const MAX_LABELS = 64;
/** Longest label or metric name, in UTF-16 units. */
export const MAX_NAME_LENGTH = 256;
/** Longest label value, in UTF-16 units: a label identifies, it does not carry text. */
export const MAX_VALUE_LENGTH = 4096;

/** A copy of `labels` without empty values, names sorted. Throws `INVALID_SAMPLE` naming the label at fault. */
export function normalizeLabels(labels: Labels): Labels {
  const names = Object.keys(labels).filter((name) => labels[name] !== '');
  if (names.length > MAX_LABELS) {
    throw new MonitoringError(
      'INVALID_SAMPLE',
      `a series has ${names.length} labels, at most ${MAX_LABELS} are kept`,
      {
        hint: 'drop labels whose values are nearly all different',
      },
    );
  }
  const out: Record<string, string> = {};
  for (const name of names.sort()) {
    const value = labels[name] ?? '';
    if (name === '' || name.length > MAX_NAME_LENGTH) {
      throw new MonitoringError(
        'INVALID_SAMPLE',
        `label name "${name.slice(0, 40)}" is empty or over ${MAX_NAME_LENGTH} characters`,
      );
    }
    if (typeof value !== 'string' || value.length > MAX_VALUE_LENGTH) {
      throw new MonitoringError(
        'INVALID_SAMPLE',
        `the value of label "${name}" is not text of at most ${MAX_VALUE_LENGTH} characters`,
      );
    }
    out[name] = value;
  }
  return out;
}

/** Equal for equal label sets and only for those, whatever the order of the labels. */
export function labelKey(labels: Labels): string {
  const names = Object.keys(labels);
  if (names.length > 1) names.sort();
  let key = '';
  for (const name of names) {
    const value = labels[name];
    // Lengths in front make it unambiguous, whatever characters the texts hold.
    if (value !== '' && value !== undefined) key += `${name.length}:${name}${value.length}:${value}`;
  }
  return key;
}

/** `labels` without some names. */
export function withoutLabels(labels: Labels, names: ReadonlySet<string>): Labels {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(labels)) if (!names.has(name)) out[name] = value;
  return out;
}

/** Only some names of `labels`. */
export function onlyLabels(labels: Labels, names: readonly string[]): Labels {
  const out: Record<string, string> = {};
  for (const name of names) {
    const value = labels[name];
    if (value !== undefined) out[name] = value;
  }
  return out;
}

/** `name{a="b"}` as PromQL writes it. */
export function formatLabels(labels: Labels): string {
  const inner = Object.keys(labels)
    .filter((name) => name !== METRIC_NAME)
    .sort()
    .map((name) => `${name}=${JSON.stringify(labels[name])}`);
  const metric = labels[METRIC_NAME] ?? '';
  return inner.length === 0 && metric !== '' ? metric : `${metric}{${inner.join(', ')}}`;
}
