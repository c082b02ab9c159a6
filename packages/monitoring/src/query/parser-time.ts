// What may follow an expression: `[5m]`, `[1h:5m]`, `offset 1h`, `@ end()`.

import type { AtModifier, Expression } from './ast.ts';
import { durationMs, numberValue } from './lexer.ts';
import type { PromqlParser } from './parser.ts';
import { invalidQuery, unsupportedQuery } from './query-error.ts';

/** Furthest instant a Date can hold, in milliseconds. */
const MAX_TIME_MS = 8.64e15;
/** A range, an offset and an @, and the same of a subquery or two around it. */
const MAX_MODIFIERS = 10;

/** Wraps `primary` in the ranges, offsets and `@` that follow it. */
export function parseTimeModifiers(parser: PromqlParser, primary: Expression, start: number): Expression {
  const { tokens } = parser;
  let expression = primary;
  for (let count = 0; ; count++) {
    const token = tokens.peek();
    if (count > MAX_MODIFIERS)
      throw invalidQuery(parser.query, token.start, `over ${MAX_MODIFIERS} modifiers follow one expression`);
    if (tokens.takePunctuation('[')) expression = parseRange(parser, expression, start);
    else if (tokens.takeWord('offset'))
      expression = shift(parser, expression, token.start, { offsetMs: signedDuration(parser) });
    else if (tokens.takePunctuation('@'))
      expression = shift(parser, expression, token.start, { at: parseAt(parser) });
    else if (token.kind === 'identifier' && /^(anchored|smoothed)$/.test(token.text)) {
      throw unsupportedQuery(parser.query, token.start, `the ${token.text} modifier`);
    } else return expression;
  }
}

function parseRange(parser: PromqlParser, expression: Expression, start: number): Expression {
  const { tokens, query } = parser;
  const bracket = tokens.previousEnd - 1;
  const rangeMs = positiveDuration(parser);
  if (!tokens.takePunctuation(':')) {
    tokens.expect(']');
    if (expression.kind !== 'vector-selector') {
      throw invalidQuery(
        query,
        bracket,
        'ranges only allowed for vector selectors',
        'write [range:step] for a subquery',
      );
    }
    if (expression.offsetMs !== 0 || expression.at !== undefined) {
      throw invalidQuery(
        query,
        bracket,
        'no offset or @ modifiers allowed before range',
        'write x[5m] offset 1h',
      );
    }
    return { kind: 'matrix-selector', selector: expression, rangeMs, span: parser.span(start) };
  }
  const stepMs = tokens.isPunctuation(']') ? undefined : positiveDuration(parser);
  tokens.expect(']');
  return {
    kind: 'subquery',
    expression,
    rangeMs,
    stepMs,
    offsetMs: 0,
    at: undefined,
    span: parser.span(start),
  };
}

function shift(
  parser: PromqlParser,
  expression: Expression,
  position: number,
  change: { offsetMs?: number; at?: AtModifier },
): Expression {
  const { query } = parser;
  if (expression.kind === 'matrix-selector') {
    const selector = shift(parser, expression.selector, position, change);
    if (selector.kind !== 'vector-selector') return expression;
    return { ...expression, selector, span: parser.span(expression.span.start) };
  }
  if (expression.kind !== 'vector-selector' && expression.kind !== 'subquery') {
    const what = change.at === undefined ? 'offset' : '@';
    throw invalidQuery(
      query,
      position,
      `${what} modifier must be preceded by an instant vector selector or range vector selector or a subquery`,
    );
  }
  if (change.offsetMs !== undefined && expression.offsetMs !== 0)
    throw invalidQuery(query, position, 'offset may not be set multiple times');
  if (change.at !== undefined && expression.at !== undefined)
    throw invalidQuery(query, position, '@ may not be set multiple times');
  return { ...expression, ...change, span: parser.span(expression.span.start) };
}

function parseAt(parser: PromqlParser): AtModifier {
  const { tokens, query } = parser;
  const word = tokens.takeOneOf('start', 'end');
  if (word !== undefined) {
    tokens.expect('(');
    tokens.expect(')');
    return { kind: word === 'start' ? 'start' : 'end' };
  }
  const negative = tokens.takePunctuation('-');
  if (!negative) tokens.takePunctuation('+');
  const token = tokens.next();
  const seconds =
    token.kind === 'duration'
      ? durationMs(token.text) / 1000
      : token.kind === 'number'
        ? numberValue(token.text)
        : Number.NaN;
  const timeMs = Math.round((negative ? -seconds : seconds) * 1000);
  if (!Number.isFinite(timeMs) || Math.abs(timeMs) > MAX_TIME_MS) {
    throw invalidQuery(
      query,
      token.start,
      'timestamp out of bounds for @ modifier: it takes a Unix time in seconds, start() or end()',
    );
  }
  return { kind: 'time', timeMs };
}

function signedDuration(parser: PromqlParser): number {
  const negative = parser.tokens.takePunctuation('-');
  if (!negative) parser.tokens.takePunctuation('+');
  const ms = duration(parser);
  return negative ? -ms : ms;
}

function positiveDuration(parser: PromqlParser): number {
  const token = parser.tokens.peek();
  const ms = duration(parser);
  if (!(ms > 0)) throw invalidQuery(parser.query, token.start, 'duration must be greater than 0');
  return ms;
}

function duration(parser: PromqlParser): number {
  const { tokens, query } = parser;
  const token = tokens.next();
  if (token.kind !== 'duration' && token.kind !== 'number') {
    if (token.text === '(' || token.kind === 'identifier')
      throw unsupportedQuery(query, token.start, 'a duration expression');
    throw invalidQuery(query, token.start, 'a duration such as 5m is expected here');
  }
  const after = tokens.peek();
  if (
    after.kind === 'punctuation' &&
    /^[-+*/%^]$/.test(after.text) &&
    tokens.previousEnd > 0 &&
    insideRange(query, after.start)
  ) {
    throw unsupportedQuery(query, after.start, 'a duration expression');
  }
  const ms = token.kind === 'duration' ? durationMs(token.text) : Math.round(numberValue(token.text) * 1000);
  if (!(ms <= MAX_TIME_MS)) throw invalidQuery(query, token.start, 'duration out of range');
  return ms;
}

function insideRange(query: string, position: number): boolean {
  return query.lastIndexOf('[', position) > query.lastIndexOf(']', position);
}
