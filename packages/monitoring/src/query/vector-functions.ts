// Functions that map each element of an instant vector on its own.

import type { Vector } from './value.ts';

type Scalars = readonly number[];

const DEGREES = 180 / Math.PI;

function date(part: (at: Date) => number): (value: number) => number {
  return (value) => {
    // Go's Unix time counts whole seconds, so a fraction never shows.
    const at = new Date(Math.floor(value) * 1000);
    return Number.isNaN(at.getTime()) ? Number.NaN : part(at);
  };
}

function dayOfYear(at: Date): number {
  const year = at.getUTCFullYear();
  return (
    Math.floor((Date.UTC(year, at.getUTCMonth(), at.getUTCDate()) - Date.UTC(year, 0, 1)) / 86_400_000) + 1
  );
}

function round(value: number, [nearest = 1]: Scalars): number {
  // Multiplying by the inverse is what Prometheus does: 0.1 has an exact-enough inverse, itself it has none.
  const inverse = 1 / nearest;
  return Math.floor(value * inverse + 0.5) / inverse;
}

function clamp(value: number, low: number, high: number): number {
  return Number.isNaN(value) ? value : Math.max(low, Math.min(high, value));
}

const MAPPERS: ReadonlyMap<string, (value: number, scalars: Scalars) => number> = new Map<
  string,
  (value: number, scalars: Scalars) => number
>([
  ['abs', Math.abs],
  ['acos', Math.acos],
  ['acosh', Math.acosh],
  ['asin', Math.asin],
  ['asinh', Math.asinh],
  ['atan', Math.atan],
  ['atanh', Math.atanh],
  ['ceil', Math.ceil],
  ['clamp', (value, [low = Number.NaN, high = Number.NaN]) => clamp(value, low, high)],
  ['clamp_max', (value, [high = Number.NaN]) => clamp(value, Number.NEGATIVE_INFINITY, high)],
  ['clamp_min', (value, [low = Number.NaN]) => clamp(value, low, Number.POSITIVE_INFINITY)],
  ['cos', Math.cos],
  ['cosh', Math.cosh],
  ['deg', (value) => value * DEGREES],
  ['exp', Math.exp],
  ['floor', Math.floor],
  ['ln', Math.log],
  ['log10', Math.log10],
  ['log2', Math.log2],
  ['rad', (value) => value / DEGREES],
  ['round', round],
  ['sgn', Math.sign],
  ['sin', Math.sin],
  ['sinh', Math.sinh],
  ['sqrt', Math.sqrt],
  ['tan', Math.tan],
  ['tanh', Math.tanh],
  ['day_of_month', date((at) => at.getUTCDate())],
  ['day_of_week', date((at) => at.getUTCDay())],
  ['day_of_year', date(dayOfYear)],
  [
    'days_in_month',
    date((at) => new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 0)).getUTCDate()),
  ],
  ['hour', date((at) => at.getUTCHours())],
  ['minute', date((at) => at.getUTCMinutes())],
  ['month', date((at) => at.getUTCMonth() + 1)],
  ['year', date((at) => at.getUTCFullYear())],
]);

/** Applies a mapping function by name; `undefined` when there is none of that name. The caller drops the names. */
export function applyVectorFunction(name: string, vector: Vector, scalars: Scalars): Vector | undefined {
  const map = MAPPERS.get(name);
  if (map === undefined) return undefined;
  const [low = Number.NaN, high = Number.NaN] = scalars;
  if (name === 'clamp' && high < low) return [];
  return vector.map(({ labels, value }) => ({ labels, value: map(value, scalars) }));
}
