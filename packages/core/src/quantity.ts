// Text forms of amounts, parsed once at the edge: CPU, bytes, durations, percentages.

import { HeptadError } from './errors.ts';

/** More than any machine has; larger is a slip of the pen. */
const MAXIMUM_CPU_MILLIS = 1_000_000_000;
/** A thousand years of milliseconds. */
const MAXIMUM_DURATION_MS = 1000 * 365 * 24 * 3_600_000;
const NUMBER = String.raw`\d+(?:\.\d+)?|\.\d+`;

function invalid(what: string, value: unknown, why: string, forms: string): HeptadError<'INVALID_QUANTITY'> {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 64)) : String(value);
  return new HeptadError('INVALID_QUANTITY', `${shown} is not ${what}: ${why}`, {
    hint: `write ${forms}`,
    details: { value: shown, accepted: forms },
  });
}

const CPU_FORMS = 'cores such as 2 or "0.5", or millicores such as "500m"';

/**
 * CPU as millicores, a whole number. Accepts cores (`2`, `0.5`, `"0.5"`) and millicores (`"500m"`).
 *
 * Errors: `INVALID_QUANTITY` for anything else, for negative values and for less than one millicore but not zero.
 *
 * @example
 * ```ts
 * import { parseCpu } from '@heptad/core';
 *
 * console.log(parseCpu('0.5'), parseCpu('500m'), parseCpu(2)); // 500 500 2000
 * ```
 */
export function parseCpu(value: string | number): number {
  const match =
    typeof value === 'number'
      ? [value, String(value), '']
      : new RegExp(`^\\s*(${NUMBER})(m?)\\s*$`).exec(value);
  if (match === null) throw invalid('an amount of CPU', value, 'it has no such form', CPU_FORMS);
  const amount = Number(match[1]);
  if (!Number.isFinite(amount) || amount < 0) {
    throw invalid('an amount of CPU', value, 'it must be 0 or more', CPU_FORMS);
  }
  const millis = Math.round(match[2] === 'm' ? amount : amount * 1000);
  if (millis === 0 && amount > 0) {
    throw invalid('an amount of CPU', value, 'it is less than one millicore', CPU_FORMS);
  }
  if (millis > MAXIMUM_CPU_MILLIS) {
    throw invalid('an amount of CPU', value, 'it is more than a million cores', CPU_FORMS);
  }
  return millis;
}

const BYTE_FORMS = 'bytes such as 1048576, or with a unit such as "512m", "1Gi", "1.5g" or "100kb"';
const BYTE_POWERS: Readonly<Record<string, number>> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * Bytes, a whole number. Units are powers of 1024, as in Compose: `b`, `k`, `m`, `g`, `t`, `p`, each also as `kb` or
 * `Ki` or `KiB`, in any case. A fraction of a byte is dropped.
 *
 * Errors: `INVALID_QUANTITY`.
 *
 * @example
 * ```ts
 * import { parseBytes } from '@heptad/core';
 *
 * console.log(parseBytes('512m'), parseBytes('1Gi')); // 536870912 1073741824
 * ```
 */
export function parseBytes(value: string | number): number {
  const match =
    typeof value === 'number'
      ? [value, String(value), '']
      : new RegExp(`^\\s*(${NUMBER})\\s*(?:([kmgtp]?)b?|([kmgtp])ib?)\\s*$`, 'i').exec(value);
  if (match === null) throw invalid('an amount of bytes', value, 'it has no such form', BYTE_FORMS);
  const amount = Number(match[1]);
  const power = BYTE_POWERS[String(match[2] ?? match[3] ?? '').toLowerCase()] ?? 0;
  const bytes = Math.floor(amount * 1024 ** power);
  if (!Number.isFinite(amount) || amount < 0) {
    throw invalid('an amount of bytes', value, 'it must be 0 or more', BYTE_FORMS);
  }
  if (power === 0 && !Number.isInteger(amount)) {
    throw invalid('an amount of bytes', value, 'half bytes do not exist', BYTE_FORMS);
  }
  if (!Number.isSafeInteger(bytes)) {
    throw invalid('an amount of bytes', value, 'it is more than 8 PiB', BYTE_FORMS);
  }
  return bytes;
}

const DURATION_FORMS = 'a duration such as "500ms", "10s", "1m30s", "2h" or "7d"';
const DURATION_UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  µs: 0.001,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Milliseconds, a whole number. Accepts Compose's forms (`"500ms"`, `"1m30s"`, `"1.5h"`, units us, ms, s, m, h), days
 * (`"7d"`), `"0"`, and a number, which is milliseconds. What is shorter than a millisecond is rounded up, so that a
 * positive duration never becomes zero.
 *
 * Errors: `INVALID_QUANTITY`.
 *
 * @example
 * ```ts
 * import { parseDuration } from '@heptad/core';
 *
 * console.log(parseDuration('1m30s'), parseDuration('500ms')); // 90000 500
 * ```
 */
export function parseDuration(value: string | number): number {
  const ms = typeof value === 'number' ? value : parseDurationText(value);
  if (!Number.isFinite(ms) || ms < 0) {
    throw invalid('a duration', value, 'it must be 0 or more', DURATION_FORMS);
  }
  if (ms > MAXIMUM_DURATION_MS) {
    throw invalid('a duration', value, 'it is more than a thousand years', DURATION_FORMS);
  }
  // 1.1 h is 3960000.0000000005 ms in binary floating point: rounding to a microsecond first keeps `ceil` honest.
  return Math.ceil(Math.round(ms * 1000) / 1000);
}

function parseDurationText(value: string): number {
  const text = value.trim();
  if (text === '0') return 0;
  const part = new RegExp(`(${NUMBER})(us|µs|ms|s|m|h|d)`, 'y');
  let ms = 0;
  let at = 0;
  while (at < text.length) {
    part.lastIndex = at;
    const match = part.exec(text);
    if (match === null) {
      const why = /^[\d.]+$/.test(text) ? 'it has no unit' : 'it has no such form';
      throw invalid('a duration', value, why, DURATION_FORMS);
    }
    ms += Number(match[1]) * (DURATION_UNITS[match[2] ?? ''] ?? 0);
    at = part.lastIndex;
  }
  if (text === '') throw invalid('a duration', value, 'it is empty', DURATION_FORMS);
  return ms;
}

const PERCENT_FORMS = 'a percentage such as "30%", or a fraction from 0 to 1 such as 0.3';

/**
 * A fraction from 0 to 1. Accepts `"30%"`, `0.3` and `"0.3"`.
 *
 * Errors: `INVALID_QUANTITY`, also for `30` and `"30"`, which could mean either.
 *
 * @example
 * ```ts
 * import { parsePercent } from '@heptad/core';
 *
 * console.log(parsePercent('30%'), parsePercent(0.3)); // 0.3 0.3
 * ```
 */
export function parsePercent(value: string | number): number {
  const match =
    typeof value === 'number'
      ? [value, String(value), '']
      : new RegExp(`^\\s*(${NUMBER})\\s*(%?)\\s*$`).exec(value);
  if (match === null) throw invalid('a percentage', value, 'it has no such form', PERCENT_FORMS);
  const amount = Number(match[1]);
  const fraction = match[2] === '%' ? amount / 100 : amount;
  if (!Number.isFinite(fraction) || fraction < 0 || fraction > 1) {
    throw invalid('a percentage', value, 'it must be from 0 % to 100 %', PERCENT_FORMS);
  }
  return fraction;
}

/** `536870912` -> `512MiB`, `1610612736` -> `1.5GiB`: at most one decimal, readable by {@link parseBytes}. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let amount = bytes;
  let unit = 0;
  while (Math.abs(amount) >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  // 1023.96 would round to "1024.0": it belongs to the next unit.
  if (Math.abs(amount) >= 1023.95 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? amount : Number(amount.toFixed(1))}${units[unit]}`;
}

/** `90000` -> `1m30s`, `500` -> `500ms`, `1500` -> `1.5s`: readable by {@link parseDuration}. */
export function formatDuration(ms: number): string {
  const whole = Math.round(ms);
  if (whole === 0) return '0s';
  if (whole < 1000) return `${whole}ms`;
  let rest = whole;
  let text = '';
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
  ] as const) {
    if (rest >= size) text += `${Math.floor(rest / size)}${unit}`;
    rest %= size;
  }
  return rest === 0 ? text : `${text}${rest / 1000}s`;
}

/** `500` -> `0.5`, `2000` -> `2`: cores, readable by {@link parseCpu}. */
export function formatCpu(cpuMillis: number): string {
  return String(cpuMillis / 1000);
}
