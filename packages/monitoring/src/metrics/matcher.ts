// Label matchers: `=`, `!=`, `=~`, `!~`, with regular expressions matched whole and in linear time.

import { compilePattern } from './regex.ts';

/** How a matcher compares. */
export type MatchOperator = '=' | '!=' | '=~' | '!~';

/** One condition on one label. A missing label has the value `''`. */
export interface Matcher {
  readonly name: string;
  readonly operator: MatchOperator;
  readonly value: string;
}

/** A matcher ready to be asked. */
export interface CompiledMatcher extends Matcher {
  matches(value: string): boolean;
}

/** Prepares a matcher. Throws `INVALID_QUERY` when its regular expression is not valid. */
export function compileMatcher(matcher: Matcher): CompiledMatcher {
  return { ...matcher, matches: predicate(matcher) };
}

function predicate({ operator, value }: Matcher): (text: string) => boolean {
  if (operator === '=') return (text) => text === value;
  if (operator === '!=') return (text) => text !== value;
  const pattern = compilePattern(value);
  return operator === '=~' ? (text) => pattern(text) : (text) => !pattern(text);
}
