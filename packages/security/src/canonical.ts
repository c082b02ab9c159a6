// Canonical JSON: one byte sequence per value, so that it can be hashed, signed and bound to a ciphertext.

import { SecurityError } from './errors.ts';

/** Nesting beyond this is refused: a hostile or cyclic value must not exhaust the stack. */
const MAX_DEPTH = 32;

/**
 * `value` as canonical JSON (RFC 8785): members sorted by UTF-16 code units, no white space, numbers and strings as
 * ECMAScript prints them. Members whose value is `undefined` are left out, as in `JSON.stringify`.
 *
 * Errors: `INVALID_ARGUMENT` for what JSON cannot hold (functions, non-finite numbers, lone surrogates, too deep or
 * cyclic values).
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) {
    throw new SecurityError(
      'INVALID_ARGUMENT',
      `cannot write a value as canonical JSON: it is nested deeper than ${MAX_DEPTH} levels or refers to itself`,
    );
  }
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return writeString(value);
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return JSON.stringify(value);
    throw new SecurityError('INVALID_ARGUMENT', `cannot write ${value} as canonical JSON: it is not finite`);
  }
  if (Array.isArray(value)) return `[${value.map((item) => write(item ?? null, depth + 1)).join(',')}]`;
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, member]) => `${writeString(name)}:${write(member, depth + 1)}`);
    return `{${members.join(',')}}`;
  }
  throw new SecurityError('INVALID_ARGUMENT', `cannot write a ${typeof value} as canonical JSON`);
}

function writeString(text: string): string {
  // A lone surrogate has no UTF-8 form: two different texts would hash alike.
  if (!text.isWellFormed()) {
    throw new SecurityError(
      'INVALID_ARGUMENT',
      'cannot write text as canonical JSON: it holds a lone surrogate',
    );
  }
  return JSON.stringify(text);
}
