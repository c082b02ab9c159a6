// PromQL text to tokens.

import { readString } from './lexer-string.ts';
import { invalidQuery } from './query-error.ts';

/** Kinds of token. `identifier` includes keywords; the parser decides by place, as Prometheus does. */
export type TokenKind = 'number' | 'duration' | 'string' | 'identifier' | 'punctuation' | 'end';

/** A piece of the text. */
export interface Token {
  readonly kind: TokenKind;
  /** As written; for strings the decoded content. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Longest query text: a dashboard's longest are a few thousand characters. */
export const MAX_QUERY_LENGTH = 65_536;

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?/;
const NUMBER =
  /^(?:0[xX][0-9a-fA-F](?:_?[0-9a-fA-F])*|(?:\d(?:_?\d)*\.?(?:\d(?:_?\d)*)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d+)?)/;
const IDENTIFIER = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const PUNCTUATION = /^(?:==|!=|=~|!~|>=|<=|[-+*/%^=<>(){}[\],@:])/;

/** Cuts a query into tokens, the last of kind `end`. Throws `INVALID_QUERY` with the position. */
export function tokenize(query: string): Token[] {
  if (query.length > MAX_QUERY_LENGTH) {
    throw invalidQuery(query, MAX_QUERY_LENGTH, `it is longer than ${MAX_QUERY_LENGTH} characters`);
  }
  const tokens: Token[] = [];
  let index = 0;
  for (;;) {
    index = skip(query, index);
    if (index >= query.length) break;
    const token = next(query, index, tokens.at(-1));
    tokens.push(token);
    index = token.end;
  }
  tokens.push({ kind: 'end', text: '', start: query.length, end: query.length });
  return tokens;
}

function skip(query: string, from: number): number {
  const gap = /^(?:\s+|#[^\n]*)*/.exec(query.slice(from));
  return from + (gap?.[0].length ?? 0);
}

function next(query: string, start: number, before: Token | undefined): Token {
  const rest = query.slice(start);
  const first = rest[0] ?? '';
  if (first === '"' || first === "'" || first === '`') {
    const { text, length } = readString(query, start);
    return { kind: 'string', text, start, end: start + length };
  }
  // In `[5m:1m]` the colon separates; elsewhere it may begin a name.
  const separator = first === ':' && before !== undefined && insideBrackets(query, start);
  if (!separator) {
    const numeric = readNumeric(query, rest, start);
    if (numeric !== undefined) return numeric;
    const name = IDENTIFIER.exec(rest)?.[0];
    if (name !== undefined) return { kind: 'identifier', text: name, start, end: start + name.length };
  }
  const mark = PUNCTUATION.exec(rest)?.[0];
  if (mark !== undefined) return { kind: 'punctuation', text: mark, start, end: start + mark.length };
  throw invalidQuery(query, start, `unexpected character ${JSON.stringify(first)}`);
}

function insideBrackets(query: string, position: number): boolean {
  return query.lastIndexOf('[', position) > query.lastIndexOf(']', position);
}

function readNumeric(query: string, rest: string, start: number): Token | undefined {
  const duration = DURATION.exec(rest)?.[0] ?? '';
  const number = NUMBER.exec(rest)?.[0] ?? '';
  const text = duration.length >= number.length ? duration : number;
  if (text === '') return undefined;
  const end = start + text.length;
  if (/[a-zA-Z0-9_]/.test(query[end] ?? '')) {
    const word = /^[\w.]+/.exec(rest)?.[0] ?? text;
    throw invalidQuery(
      query,
      start,
      `"${word}" is neither a number nor a duration`,
      'durations are written 5m, 1h30m or 500ms',
    );
  }
  return { kind: duration === text ? 'duration' : 'number', text, start, end };
}

/** Milliseconds of a duration token (`1h30m`). */
export function durationMs(text: string): number {
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([a-z]+)/g))
    sum += Number(count) * (UNIT_MS[unit ?? ''] ?? Number.NaN);
  return sum;
}

/** The value of a number token. */
export function numberValue(text: string): number {
  return Number(text.replaceAll('_', ''));
}
