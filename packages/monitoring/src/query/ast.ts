// The tree of a PromQL expression, and where each node stands in the text.

import type { Matcher } from '../metrics/matcher.ts';

/** What an expression yields. */
export type ValueType = 'scalar' | 'string' | 'vector' | 'matrix';

/** A span of the query text, offsets in UTF-16 units, `end` excluded. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Aggregation operators. */
export type AggregateOperator =
  | 'sum'
  | 'avg'
  | 'min'
  | 'max'
  | 'count'
  | 'group'
  | 'stddev'
  | 'stdvar'
  | 'topk'
  | 'bottomk'
  | 'quantile'
  | 'count_values';

/** Binary operators. */
export type BinaryOperator =
  | '+'
  | '-'
  | '*'
  | '/'
  | '%'
  | '^'
  | 'atan2'
  | '=='
  | '!='
  | '>'
  | '<'
  | '>='
  | '<='
  | 'and'
  | 'or'
  | 'unless';

/** `@ 1609746000`, `@ start()` or `@ end()`; the time is in milliseconds. */
export type AtModifier =
  | { readonly kind: 'time'; readonly timeMs: number }
  | { readonly kind: 'start' | 'end' };

/** How the two sides of a binary operation are paired. */
export interface VectorMatching {
  /** `on (labels)` when true, `ignoring (labels)` when false. */
  readonly on: boolean;
  readonly labels: readonly string[];
  readonly cardinality: 'one-to-one' | 'many-to-one' | 'one-to-many' | 'many-to-many';
  /** Labels taken over from the "one" side. */
  readonly include: readonly string[];
}

/** Moves the time at which a selector or subquery looks. */
export interface TimeShift {
  readonly offsetMs: number;
  readonly at: AtModifier | undefined;
}

/** A node of the tree. */
export type Expression = (
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | VectorSelector
  | MatrixSelector
  | Subquery
  | Call
  | Aggregation
  | Binary
  | { readonly kind: 'unary'; readonly operator: '+' | '-'; readonly operand: Expression }
  | { readonly kind: 'parenthesis'; readonly inner: Expression }
) & { readonly span: Span };

/** `name{label="value"} offset 5m`. */
export interface VectorSelector extends TimeShift {
  readonly kind: 'vector-selector';
  readonly matchers: readonly Matcher[];
}

/** A selector with a range: `name[5m]`. */
export interface MatrixSelector {
  readonly kind: 'matrix-selector';
  readonly selector: VectorSelector & { readonly span: Span };
  readonly rangeMs: number;
}

/** An expression evaluated at many times: `rate(x[1m])[1h:5m]`. */
export interface Subquery extends TimeShift {
  readonly kind: 'subquery';
  readonly expression: Expression;
  readonly rangeMs: number;
  /** `undefined` means the default step. */
  readonly stepMs: number | undefined;
}

/** `rate(x[5m])`. */
export interface Call {
  readonly kind: 'call';
  readonly name: string;
  readonly arguments: readonly Expression[];
}

/** `sum by (service) (x)`. */
export interface Aggregation {
  readonly kind: 'aggregation';
  readonly operator: AggregateOperator;
  readonly expression: Expression;
  readonly parameter: Expression | undefined;
  readonly grouping: readonly string[];
  readonly without: boolean;
}

/** `a / on (service) b`. */
export interface Binary {
  readonly kind: 'binary';
  readonly operator: BinaryOperator;
  readonly left: Expression;
  readonly right: Expression;
  readonly matching: VectorMatching;
  /** `bool`: a comparison yields 0 or 1 instead of filtering. */
  readonly returnBool: boolean;
}

/** Whether an operator compares. */
export function isComparison(operator: BinaryOperator): boolean {
  return ['==', '!=', '>', '<', '>=', '<='].includes(operator);
}

/** Whether an operator works on sets of series. */
export function isSetOperator(operator: BinaryOperator): boolean {
  return operator === 'and' || operator === 'or' || operator === 'unless';
}

/** `expression` without the parentheses around it. */
export function unwrap(expression: Expression): Expression {
  let inner = expression;
  while (inner.kind === 'parenthesis') inner = inner.inner;
  return inner;
}
