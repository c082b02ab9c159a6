// PromQL tokens to a tree: a Pratt parser, one table of binding powers.

import {
  type BinaryOperator,
  type Expression,
  isComparison,
  isSetOperator,
  type Span,
  type VectorMatching,
} from './ast.ts';
import { checkTypes } from './check.ts';
import { durationMs, numberValue, type Token, tokenize } from './lexer.ts';
import { isAggregateName, parseAggregation } from './parser-aggregate.ts';
import { parseSelector } from './parser-selector.ts';
import { parseTimeModifiers } from './parser-time.ts';
import { invalidQuery, unsupportedQuery } from './query-error.ts';
import { TokenStream } from './token-stream.ts';

/** Loosest to tightest, as in the Prometheus grammar. */
const POWER: ReadonlyMap<string, number> = new Map([
  ['or', 1],
  ['and', 2],
  ['unless', 2],
  ...['==', '!=', '<=', '<', '>=', '>'].map((operator): [string, number] => [operator, 3]),
  ['+', 4],
  ['-', 4],
  ...['*', '/', '%', 'atan2'].map((operator): [string, number] => [operator, 5]),
  ['^', 6],
]);

/** `-2 ^ 2` is -(2 ^ 2), and `-a * b` is (-a) * b. */
const UNARY_POWER = 5;
/** Nesting beyond this is no query a person or dashboard wrote, and recursion has a stack. */
const MAX_DEPTH = 200;
/** `1 + 1 + …` makes a tree as deep as the chain is long. */
const MAX_CHAIN = 1000;

/**
 * Parses and type-checks a PromQL expression.
 *
 * @throws `INVALID_QUERY` with `details.position`, `details.line` and `details.column`; `NOT_SUPPORTED` naming the
 * feature.
 *
 * @example
 * ```ts
 * import { parsePromql } from '@heptad/monitoring';
 *
 * const tree = parsePromql('sum by (service) (rate(http_requests_total[5m]))');
 * console.log(tree.kind); // aggregation
 * ```
 */
export function parsePromql(query: string): Expression {
  const parser = new PromqlParser(query);
  const expression = parser.expression(0);
  parser.tokens.expectEnd();
  checkTypes(query, expression);
  return expression;
}

/** Recursive descent with binding powers; the parts of the grammar live in files beside this one. */
export class PromqlParser {
  readonly query: string;
  readonly tokens: TokenStream;
  #depth = 0;

  constructor(query: string) {
    this.query = query;
    this.tokens = new TokenStream(query, tokenize(query));
  }

  /** Parses an expression whose operators bind at least as tight as `power`. */
  expression(power: number): Expression {
    if (++this.#depth > MAX_DEPTH)
      throw invalidQuery(this.query, this.tokens.peek().start, `it is nested deeper than ${MAX_DEPTH}`);
    let left = this.#prefix();
    for (let chain = 0; ; chain++) {
      if (chain > MAX_CHAIN)
        throw invalidQuery(
          this.query,
          this.tokens.peek().start,
          `it has over ${MAX_CHAIN} operators in a row`,
        );
      const operator = binaryOperator(this.tokens.peek());
      const binding = operator === undefined ? undefined : POWER.get(operator);
      if (operator === undefined || binding === undefined || binding < power) break;
      left = this.#binary(left, operator, binding);
    }
    this.#depth--;
    return left;
  }

  span(start: number): Span {
    return { start, end: this.tokens.previousEnd };
  }

  #binary(left: Expression, operator: BinaryOperator, binding: number): Expression {
    this.tokens.next();
    const returnBool = this.tokens.takeWord('bool');
    if (returnBool && !isComparison(operator)) {
      throw invalidQuery(
        this.query,
        this.tokens.previousEnd - 4,
        'the bool modifier belongs to comparisons only',
      );
    }
    const matching = this.#matching(operator);
    const right = this.expression(operator === '^' ? binding : binding + 1);
    return { kind: 'binary', operator, left, right, matching, returnBool, span: this.span(left.span.start) };
  }

  #matching(operator: BinaryOperator): VectorMatching {
    const set = isSetOperator(operator);
    const cardinality = set ? 'many-to-many' : 'one-to-one';
    const word = this.tokens.takeOneOf('on', 'ignoring');
    if (word === undefined) this.#refuseFill();
    if (word === undefined) return { on: false, labels: [], cardinality, include: [] };
    const labels = this.tokens.labelList();
    const side = this.tokens.takeOneOf('group_left', 'group_right');
    if (side === undefined) {
      this.#refuseFill();
      return { on: word === 'on', labels, cardinality, include: [] };
    }
    if (set)
      throw invalidQuery(
        this.query,
        this.tokens.previousEnd,
        `no grouping is allowed for the "${operator}" operation`,
      );
    const include = this.tokens.isPunctuation('(') ? this.tokens.labelList() : [];
    const both = word === 'on' ? include.find((label) => labels.includes(label)) : undefined;
    if (both !== undefined) {
      throw invalidQuery(
        this.query,
        this.tokens.previousEnd,
        `label "${both}" must not occur in ON and GROUP clause at once`,
      );
    }
    this.#refuseFill();
    return {
      on: word === 'on',
      labels,
      cardinality: side === 'group_left' ? 'many-to-one' : 'one-to-many',
      include,
    };
  }

  #refuseFill(): void {
    const token = this.tokens.peek();
    // A metric may be called `fill` too; only the modifier has a parenthesis.
    if (/^fill(_left|_right)?$/.test(token.text) && this.tokens.peek(1).text === '(')
      throw unsupportedQuery(this.query, token.start, `the ${token.text} modifier`);
  }

  #prefix(): Expression {
    const token = this.tokens.peek();
    if (token.kind === 'punctuation' && (token.text === '-' || token.text === '+')) {
      this.tokens.next();
      const operand = this.expression(UNARY_POWER + 1);
      return { kind: 'unary', operator: token.text, operand, span: this.span(token.start) };
    }
    return this.#postfix(this.#primary(token), token.start);
  }

  #postfix(primary: Expression, start: number): Expression {
    return parseTimeModifiers(this, primary, start);
  }

  #primary(token: Token): Expression {
    switch (token.kind) {
      case 'number':
        this.tokens.next();
        return { kind: 'number', value: numberValue(token.text), span: this.span(token.start) };
      case 'duration':
        this.tokens.next();
        return { kind: 'number', value: durationMs(token.text) / 1000, span: this.span(token.start) };
      case 'string':
        this.tokens.next();
        return { kind: 'string', value: token.text, span: this.span(token.start) };
      case 'identifier':
        return this.#word(token);
      case 'punctuation':
        if (token.text === '{') return parseSelector(this, undefined, token.start);
        if (token.text === '(') return this.#parenthesis(token);
        throw invalidQuery(this.query, token.start, `unexpected "${token.text}"`);
      case 'end':
        throw invalidQuery(this.query, token.start, 'the query ends here, but an expression is expected');
    }
  }

  #parenthesis(token: Token): Expression {
    this.tokens.next();
    const inner = this.expression(0);
    this.tokens.expect(')');
    return { kind: 'parenthesis', inner, span: this.span(token.start) };
  }

  #word(token: Token): Expression {
    const lower = token.text.toLowerCase();
    const after = this.tokens.peek(1);
    const called = after.kind === 'punctuation' && after.text === '(';
    const grouped = after.kind === 'identifier' && /^(by|without)$/i.test(after.text);
    if (isAggregateName(lower) && (called || grouped)) return parseAggregation(this, token, lower);
    if (called) return this.#call(token);
    this.tokens.next();
    if (lower === 'inf' || lower === 'nan') {
      return {
        kind: 'number',
        value: lower === 'inf' ? Number.POSITIVE_INFINITY : Number.NaN,
        span: this.span(token.start),
      };
    }
    return parseSelector(this, token.text, token.start);
  }

  #call(token: Token): Expression {
    this.tokens.next();
    this.tokens.expect('(');
    const args: Expression[] = [];
    while (!this.tokens.isPunctuation(')')) {
      args.push(this.expression(0));
      if (!this.tokens.takePunctuation(',')) break;
      if (this.tokens.isPunctuation(')')) {
        throw invalidQuery(
          this.query,
          this.tokens.peek().start,
          'trailing commas not allowed in function call args',
        );
      }
    }
    this.tokens.expect(')');
    return { kind: 'call', name: token.text, arguments: args, span: this.span(token.start) };
  }
}

function binaryOperator(token: Token): BinaryOperator | undefined {
  const text = token.kind === 'identifier' ? token.text.toLowerCase() : token.text;
  if (token.kind !== 'identifier' && token.kind !== 'punctuation') return undefined;
  return isBinary(text) ? text : undefined;
}

function isBinary(text: string): text is BinaryOperator {
  return POWER.has(text);
}
