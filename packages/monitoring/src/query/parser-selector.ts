// `name{label="value", other=~"a|b"}`.

import { isHeptadError } from '@heptad/core';
import { METRIC_NAME } from '../metrics/labels.ts';
import { compileMatcher, type Matcher, type MatchOperator } from '../metrics/matcher.ts';
import type { Expression } from './ast.ts';
import type { PromqlParser } from './parser.ts';
import { invalidQuery } from './query-error.ts';

/** Parses a selector; `name` was read already, when there is one. */
export function parseSelector(parser: PromqlParser, name: string | undefined, start: number): Expression {
  const { tokens, query } = parser;
  const matchers: Matcher[] = [];
  let quotedName: string | undefined;
  if (tokens.takePunctuation('{')) {
    while (!tokens.isPunctuation('}')) {
      const token = tokens.next();
      const after = tokens.peek();
      if (
        token.kind === 'string' &&
        after.kind === 'punctuation' &&
        (after.text === ',' || after.text === '}')
      ) {
        if (name !== undefined || quotedName !== undefined) {
          throw invalidQuery(
            query,
            token.start,
            `metric name must not be set twice: "${name ?? quotedName}" or "${token.text}"`,
          );
        }
        quotedName = token.text;
      } else {
        if (token.kind !== 'identifier' && token.kind !== 'string') {
          throw invalidQuery(query, token.start, `"${token.text}" is not a label name`);
        }
        matchers.push(parseMatcher(parser, token.text));
      }
      if (!tokens.takePunctuation(',')) break;
    }
    tokens.expect('}');
  }
  const metric = name ?? quotedName;
  if (
    metric !== undefined &&
    matchers.some((matcher) => matcher.name === METRIC_NAME && name !== undefined)
  ) {
    throw invalidQuery(
      query,
      start,
      `metric name must not be set twice: "${metric}" and a matcher on __name__`,
    );
  }
  if (metric !== undefined) matchers.push({ name: METRIC_NAME, operator: '=', value: metric });
  // A selector that a series without any label would match selects the whole database.
  if (matchers.every((matcher) => compileMatcher(matcher).matches(''))) {
    throw invalidQuery(query, start, 'vector selector must contain at least one non-empty matcher');
  }
  return { kind: 'vector-selector', matchers, offsetMs: 0, at: undefined, span: parser.span(start) };
}

function parseMatcher(parser: PromqlParser, name: string): Matcher {
  const { tokens, query } = parser;
  const operator = tokens.next();
  if (operator.kind !== 'punctuation' || !isMatchOperator(operator.text)) {
    throw invalidQuery(
      query,
      operator.start,
      `"${operator.text}" stands here, but one of =, !=, =~, !~ is expected`,
    );
  }
  const value = tokens.next();
  if (value.kind !== 'string')
    throw invalidQuery(query, value.start, `the value of label "${name}" must be a quoted string`);
  const matcher = { name, operator: operator.text, value: value.text };
  try {
    compileMatcher(matcher);
  } catch (error) {
    if (isHeptadError(error)) throw invalidQuery(query, value.start, error.message);
    throw error;
  }
  return matcher;
}

function isMatchOperator(text: string): text is MatchOperator {
  return text === '=' || text === '!=' || text === '=~' || text === '!~';
}
