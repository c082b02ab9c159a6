// Types of PromQL expressions, checked before anything is read.

import { type Expression, isComparison, isSetOperator, type ValueType } from './ast.ts';
import { FUNCTIONS, UNSUPPORTED_FUNCTIONS } from './functions-table.ts';
import { invalidQuery, unsupportedQuery } from './query-error.ts';

const NAMES: Readonly<Record<ValueType, string>> = {
  scalar: 'scalar',
  string: 'string',
  vector: 'instant vector',
  matrix: 'range vector',
};

/** The type of a checked expression. */
export function typeOf(expression: Expression): ValueType {
  switch (expression.kind) {
    case 'number':
      return 'scalar';
    case 'string':
      return 'string';
    case 'vector-selector':
    case 'aggregation':
      return 'vector';
    case 'matrix-selector':
    case 'subquery':
      return 'matrix';
    case 'call':
      return FUNCTIONS.get(expression.name)?.returns ?? 'vector';
    case 'binary':
      return typeOf(expression.left) === 'scalar' && typeOf(expression.right) === 'scalar'
        ? 'scalar'
        : 'vector';
    case 'unary':
      return typeOf(expression.operand);
    case 'parenthesis':
      return typeOf(expression.inner);
  }
}

/** Throws `INVALID_QUERY` at the first place where types do not fit, `NOT_SUPPORTED` at an absent function. */
export function checkTypes(query: string, expression: Expression): void {
  switch (expression.kind) {
    case 'number':
    case 'string':
    case 'vector-selector':
    case 'matrix-selector':
      return;
    case 'parenthesis':
      checkTypes(query, expression.inner);
      return;
    case 'subquery':
      checkTypes(query, expression.expression);
      expectType(query, expression.expression, 'vector', 'subquery');
      return;
    case 'unary': {
      checkTypes(query, expression.operand);
      const type = typeOf(expression.operand);
      if (type !== 'scalar' && type !== 'vector') {
        throw invalidQuery(
          query,
          expression.span.start,
          `unary expression only allowed on expressions of type scalar or instant vector, got "${NAMES[type]}"`,
        );
      }
      return;
    }
    case 'aggregation':
      checkAggregation(query, expression);
      return;
    case 'call':
      checkCall(query, expression);
      return;
    case 'binary':
      checkBinary(query, expression);
      return;
  }
}

function expectType(query: string, expression: Expression, wanted: ValueType, where: string): void {
  const type = typeOf(expression);
  if (type === wanted) return;
  const hint = wanted === 'matrix' && type === 'vector' ? 'add a range, as in metric[5m]' : undefined;
  throw invalidQuery(
    query,
    expression.span.start,
    `expected type ${NAMES[wanted]} in ${where}, got ${NAMES[type]}`,
    hint,
  );
}

function checkAggregation(query: string, node: Expression & { kind: 'aggregation' }): void {
  checkTypes(query, node.expression);
  expectType(query, node.expression, 'vector', 'aggregation expression');
  if (node.parameter === undefined) return;
  checkTypes(query, node.parameter);
  expectType(
    query,
    node.parameter,
    node.operator === 'count_values' ? 'string' : 'scalar',
    'aggregation parameter',
  );
}

function checkCall(query: string, node: Expression & { kind: 'call' }): void {
  const signature = FUNCTIONS.get(node.name);
  if (signature === undefined) {
    if (UNSUPPORTED_FUNCTIONS.has(node.name))
      throw unsupportedQuery(query, node.span.start, `the function ${node.name}`);
    throw invalidQuery(query, node.span.start, `unknown function with name "${node.name}"`);
  }
  const { arguments: types, optional, variadic } = signature;
  const count = node.arguments.length;
  if (count < types.length - optional || (!variadic && count > types.length)) {
    const wanted = optional > 0 || variadic ? `at least ${types.length - optional}` : String(types.length);
    throw invalidQuery(
      query,
      node.span.start,
      `expected ${wanted} argument(s) in call to "${node.name}", got ${count}`,
    );
  }
  node.arguments.forEach((argument, index) => {
    checkTypes(query, argument);
    const wanted = types[Math.min(index, types.length - 1)];
    if (wanted !== undefined) expectType(query, argument, wanted, `call to function "${node.name}"`);
  });
}

function checkBinary(query: string, node: Expression & { kind: 'binary' }): void {
  checkTypes(query, node.left);
  checkTypes(query, node.right);
  const left = typeOf(node.left);
  const right = typeOf(node.right);
  for (const type of [left, right]) {
    if (type !== 'scalar' && type !== 'vector') {
      throw invalidQuery(
        query,
        node.span.start,
        `binary expression must contain only scalar and instant vector types, got ${NAMES[type]}`,
      );
    }
  }
  const scalars = left === 'scalar' && right === 'scalar';
  if (isComparison(node.operator) && scalars && !node.returnBool) {
    throw invalidQuery(query, node.span.start, 'comparisons between scalars must use BOOL modifier');
  }
  const oneScalar = left === 'scalar' || right === 'scalar';
  if (isSetOperator(node.operator) && oneScalar) {
    throw invalidQuery(
      query,
      node.span.start,
      `set operator "${node.operator}" not allowed in binary scalar expression`,
    );
  }
  if (oneScalar && (node.matching.labels.length > 0 || node.matching.include.length > 0)) {
    throw invalidQuery(query, node.span.start, 'vector matching only allowed between instant vectors');
  }
}
