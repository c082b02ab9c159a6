// What evaluation passes around and what a query answers.

import type { Labels } from '../metrics/labels.ts';

/** One series at one time. */
export interface Element {
  readonly labels: Labels;
  readonly value: number;
  /** When the sample itself was taken, for `timestamp()`; only straight from a selector. */
  readonly sampledAt?: number;
}

/** An instant vector. */
export type Vector = readonly Element[];

/** The samples of one series inside a range: `times[from..to)`. */
export interface RangeSeries {
  readonly labels: Labels;
  readonly times: Float64Array;
  readonly values: Float64Array;
  readonly from: number;
  readonly to: number;
}

/** A range vector with the range it covers: after `start`, up to and including `end`, in milliseconds. */
export interface Matrix {
  readonly series: readonly RangeSeries[];
  readonly start: number;
  readonly end: number;
}

/** A value during evaluation. */
export type Value =
  | { readonly type: 'scalar'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'vector'; readonly vector: Vector }
  | { readonly type: 'matrix'; readonly matrix: Matrix };

/** `[seconds since 1970, value as text]`, as the Prometheus HTTP API writes a sample. */
export type ApiSample = [number, string];

/** The `data` part of an answer of the Prometheus HTTP API. */
export type QueryData =
  | { readonly resultType: 'scalar'; readonly result: ApiSample }
  | { readonly resultType: 'string'; readonly result: ApiSample }
  | {
      readonly resultType: 'vector';
      readonly result: { readonly metric: Labels; readonly value: ApiSample }[];
    }
  | {
      readonly resultType: 'matrix';
      readonly result: { readonly metric: Labels; readonly values: ApiSample[] }[];
    };

/** A number as Prometheus writes it: shortest digits that read back the same, never an exponent. */
export function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  if (Object.is(value, -0)) return '-0';
  const text = String(value);
  const parts = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (parts === null) return text;
  const [, sign = '', first = '', rest = '', exponent = '0'] = parts;
  const digits = first + rest;
  const point = 1 + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  return `${sign}${digits.padEnd(point, '0')}`;
}

/** A float as PromQL, exposition and `le` labels write it. `NaN` for what is not one. */
export function parseFloatText(text: string): number {
  if (/^[+-]?inf(inity)?$/i.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
}
