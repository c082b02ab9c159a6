// Sums that do not lose small terms, quantiles, and the binary operators on two numbers.

import type { BinaryOperator } from './ast.ts';

/** Neumaier's variant of Kahan summation, as Prometheus sums. */
export class CompensatedSum {
  #sum = 0;
  #compensation = 0;

  add(value: number): void {
    const total = this.#sum + value;
    if (Number.isFinite(total)) {
      this.#compensation +=
        Math.abs(this.#sum) >= Math.abs(value) ? this.#sum - total + value : value - total + this.#sum;
    } else {
      // Infinity minus infinity would turn the compensation into NaN.
      this.#compensation = 0;
    }
    this.#sum = total;
  }

  get value(): number {
    return this.#sum + this.#compensation;
  }
}

/** The mean; falls back to a running mean when the sum would overflow. */
export function mean(values: Iterable<number>): number {
  const sum = new CompensatedSum();
  let count = 0;
  let running = 0;
  let infinite = false;
  for (const value of values) {
    count++;
    sum.add(value);
    if (!Number.isFinite(value)) infinite = true;
    running = Number.isFinite(running) ? running + (value / count - running / count) : running + value;
  }
  const total = sum.value;
  return !infinite && !Number.isFinite(total) ? running : total / count;
}

/** Population variance by Welford's method. `NaN` of nothing. */
export function variance(values: Iterable<number>): number {
  let count = 0;
  let average = 0;
  let squares = 0;
  for (const value of values) {
    count++;
    const delta = value - average;
    average += delta / count;
    squares += delta * (value - average);
  }
  return count === 0 ? Number.NaN : squares / count;
}

/** Orders numbers with every NaN first. */
export function compareNumbers(a: number, b: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : -1;
  if (Number.isNaN(b)) return 1;
  return a - b || 0;
}

/** The q-quantile by linear interpolation between closest ranks. */
export function quantile(q: number, values: readonly number[]): number {
  if (values.length === 0 || Number.isNaN(q)) return Number.NaN;
  if (q < 0) return Number.NEGATIVE_INFINITY;
  if (q > 1) return Number.POSITIVE_INFINITY;
  const sorted = values.toSorted(compareNumbers);
  const rank = q * (sorted.length - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(sorted.length - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  return (sorted[lower] ?? Number.NaN) * (1 - weight) + (sorted[upper] ?? Number.NaN) * weight;
}

/** `left operator right` for two numbers; comparisons give 1 or 0. Set operators have no meaning here. */
export function applyOperator(operator: BinaryOperator, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
    case '%':
      return left % right;
    case '^':
      return power(left, right);
    case 'atan2':
      return Math.atan2(left, right);
    default:
      return compareWith(operator, left, right) ? 1 : 0;
  }
}

function power(base: number, exponent: number): number {
  // Go's (and C's) pow says 1 where ECMAScript says NaN.
  if (base === 1 || (base === -1 && !Number.isFinite(exponent) && !Number.isNaN(exponent))) return 1;
  return base ** exponent;
}

/** Whether a comparison holds. */
export function compareWith(operator: BinaryOperator, left: number, right: number): boolean {
  switch (operator) {
    case '==':
      return left === right;
    case '!=':
      return left !== right;
    case '>':
      return left > right;
    case '<':
      return left < right;
    case '>=':
      return left >= right;
    case '<=':
      return left <= right;
    default:
      return false;
  }
}
