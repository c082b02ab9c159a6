// Header fields: the strict grammar of RFC 9112 §5, and the framing they announce (§6).

import { MAX_HEADERS } from './limits.ts';
import { HttpParseError } from './parse-error.ts';

/** How a message's body ends. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

/** Header fields in order: name, value, name, value... as received. */
export interface Fields {
  readonly list: readonly string[];
  /** Lower-case names, one for each field. */
  readonly names: readonly string[];
  /** Tokens of all Connection fields, lower-case. */
  readonly connection: ReadonlySet<string>;
  readonly contentLength: number | undefined;
  readonly chunked: boolean;
}

/** Token and field value of RFC 9110 §5.5: no control characters, so no bare CR, LF or NUL can hide in a value. */
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;
const NO_TOKENS: ReadonlySet<string> = new Set();

/** A field's value by lower-case name; several are joined by `, `. */
export function fieldValue(fields: Fields, name: string): string | undefined {
  let value: string | undefined;
  for (let index = 0; index < fields.names.length; index += 1) {
    if (fields.names[index] !== name) continue;
    const next = fields.list[index * 2 + 1] ?? '';
    value = value === undefined ? next : `${value}, ${next}`;
  }
  return value;
}

/**
 * Parses field lines (without the start line) and what they say of framing. Everything that two parsers could read
 * differently is refused: folded lines, space before the colon, several or odd Content-Length, any Transfer-Encoding
 * but a single `chunked`, and both together (RFC 9112 §6.1, §6.3, §11.2: request smuggling).
 */
export function parseFields(lines: readonly string[], first: number): Fields {
  if (lines.length - first > MAX_HEADERS) {
    throw new HttpParseError(431, `more than ${MAX_HEADERS} header fields`);
  }
  const list: string[] = [];
  const names: string[] = [];
  let connection: Set<string> | undefined;
  let contentLength: number | undefined;
  let chunked = false;
  for (let index = first; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    const match = FIELD.exec(line);
    if (match === null) throw new HttpParseError(400, describeBadField(line));
    const name = match[1] ?? '';
    const value = trimEnd(match[2] ?? '');
    const lower = name.toLowerCase();
    list.push(name, value);
    names.push(lower);
    switch (lower) {
      case 'content-length':
        if (contentLength !== undefined) throw new HttpParseError(400, 'more than one Content-Length');
        contentLength = parseContentLength(value);
        break;
      case 'transfer-encoding':
        if (chunked) throw new HttpParseError(400, 'more than one Transfer-Encoding');
        if (value.toLowerCase() !== 'chunked') {
          throw new HttpParseError(501, 'Transfer-Encoding other than "chunked"');
        }
        chunked = true;
        break;
      case 'connection':
        connection ??= new Set();
        for (const token of value.split(',')) connection.add(token.trim().toLowerCase());
        break;
    }
  }
  if (chunked && contentLength !== undefined) {
    throw new HttpParseError(400, 'both Content-Length and Transfer-Encoding');
  }
  return { list, names, connection: connection ?? NO_TOKENS, contentLength, chunked };
}

/** Fields that change framing, routing or rights mean nothing in a trailer and must not arrive in one (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'host',
  'connection',
  'trailer',
  'te',
  'authorization',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
  'content-range',
]);

/** Checks one trailer line. Errors: 400. */
export function checkTrailer(line: string): void {
  const match = FIELD.exec(line);
  if (match === null) throw new HttpParseError(400, describeBadField(line));
  const name = (match[1] ?? '').toLowerCase();
  if (NOT_IN_TRAILERS.has(name)) throw new HttpParseError(400, `${name} in a trailer`);
}

function parseContentLength(value: string): number {
  const length = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(length)) throw new HttpParseError(400, 'Content-Length is not a plain number');
  return length;
}

function trimEnd(value: string): string {
  let end = value.length;
  while (end > 0 && (value.charCodeAt(end - 1) === 32 || value.charCodeAt(end - 1) === 9)) end -= 1;
  return end === value.length ? value : value.slice(0, end);
}

function describeBadField(line: string): string {
  if (/^[ \t]/.test(line)) return 'a folded header line (obsolete and ambiguous)';
  if (/^[^:]*[ \t]+:/.test(line)) return 'space between a header name and its colon';
  if (!line.includes(':')) return 'a header line without a colon';
  return 'a header line with characters that are not allowed';
}
