// `sum by (a) (x)`, `topk(3, x) without (b)`.

import type { AggregateOperator, Expression } from './ast.ts';
import type { Token } from './lexer.ts';
import type { PromqlParser } from './parser.ts';
import { invalidQuery, unsupportedQuery } from './query-error.ts';

/** Operator -> whether it has a parameter before the expression. */
const OPERATORS: ReadonlyMap<string, boolean> = new Map([
  ...['sum', 'avg', 'min', 'max', 'count', 'group', 'stddev', 'stdvar'].map((name): [string, boolean] => [
    name,
    false,
  ]),
  ...['topk', 'bottomk', 'quantile', 'count_values'].map((name): [string, boolean] => [name, true]),
]);
const UNSUPPORTED = new Set(['limitk', 'limit_ratio']);

/** Whether a word names an aggregation. */
export function isAggregateName(name: string): boolean {
  return OPERATORS.has(name) || UNSUPPORTED.has(name);
}

function isOperator(name: string): name is AggregateOperator {
  return OPERATORS.has(name);
}

/** Parses an aggregation whose name is the next token. */
export function parseAggregation(parser: PromqlParser, token: Token, name: string): Expression {
  const { tokens, query } = parser;
  if (!isOperator(name)) throw unsupportedQuery(query, token.start, `the aggregation ${name}`);
  tokens.next();
  let clause = tokens.takeOneOf('by', 'without');
  let grouping = clause === undefined ? [] : tokens.labelList();
  tokens.expect('(');
  const args: Expression[] = [];
  while (!tokens.isPunctuation(')')) {
    args.push(parser.expression(0));
    if (!tokens.takePunctuation(',')) break;
  }
  tokens.expect(')');
  if (clause === undefined) {
    clause = tokens.takeOneOf('by', 'without');
    if (clause !== undefined) grouping = tokens.labelList();
  }
  const wanted = OPERATORS.get(name) === true ? 2 : 1;
  const expression = args[wanted - 1];
  if (args.length !== wanted || expression === undefined) {
    throw invalidQuery(
      query,
      token.start,
      `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${args.length}`,
    );
  }
  return {
    kind: 'aggregation',
    operator: name,
    expression,
    parameter: wanted === 2 ? args[0] : undefined,
    grouping,
    without: clause === 'without',
    span: parser.span(token.start),
  };
}
