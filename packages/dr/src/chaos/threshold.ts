// Thresholds: the limit that a metric must keep, as written in an experiment and as compared with a reading.

import { parseDuration, parsePercent } from '@heptad/core';

/** A limit that a metric must keep, in the metric's own unit (durations in ms, percentages as fractions). */
export interface Threshold {
  readonly is: '<' | '<=' | '>' | '>=' | '=';
  readonly than: number;
  /** As written. */
  readonly text: string;
}

/** Parses `"< 1%"`, `"<= 200ms"`, `">= 0.99"`, `5`; a bare value is an upper limit. Throws a sentence. */
export function parseThreshold(input: string | number): Threshold {
  const text = String(input).trim();
  const match = /^(<=|>=|<|>|==?)?\s*(\S.*)$/.exec(text);
  const value = match?.[2] ?? '';
  const is = (match?.[1] === '==' ? '=' : (match?.[1] ?? '<=')) as Threshold['is'];
  if (/^-?\d+(\.\d+)?$/.test(value)) return { is, than: Number(value), text };
  const parse = value.endsWith('%') ? parsePercent : parseDuration;
  // 99.9 % / 100 is not 0.999 in binary; rounding keeps ">= 99.9%" true of a reading of 0.999.
  return { is, than: Number(parse(value).toPrecision(12)), text };
}

/** Whether a value keeps a threshold. Pure; NaN keeps none. */
export function within(threshold: Threshold, value: number): boolean {
  switch (threshold.is) {
    case '<':
      return value < threshold.than;
    case '<=':
      return value <= threshold.than;
    case '>':
      return value > threshold.than;
    case '>=':
      return value >= threshold.than;
    case '=':
      return value === threshold.than;
  }
}
