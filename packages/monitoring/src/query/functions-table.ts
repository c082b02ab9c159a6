// Which functions exist, with the types of their arguments: what the parser checks a call against.

import type { ValueType } from './ast.ts';

/** How a function may be called. */
export interface FunctionSignature {
  readonly arguments: readonly ValueType[];
  /** How many of the last arguments may be left out. */
  readonly optional: number;
  /** The last argument may be repeated. */
  readonly variadic: boolean;
  readonly returns: ValueType;
}

function signature(
  types: readonly ValueType[],
  returns: ValueType = 'vector',
  optional = 0,
  variadic = false,
): FunctionSignature {
  return { arguments: types, optional, variadic, returns };
}

const VECTOR_TO_VECTOR =
  'abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh sort ' +
  'sort_desc sqrt tan tanh timestamp';
const MATRIX_TO_VECTOR =
  'absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate last_over_time ' +
  'max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time';
const DATE = 'day_of_month day_of_week day_of_year days_in_month hour minute month year';

function each(names: string, entry: FunctionSignature): [string, FunctionSignature][] {
  return names.split(' ').map((name) => [name, entry]);
}

/** All functions by name. */
export const FUNCTIONS: ReadonlyMap<string, FunctionSignature> = new Map([
  ...each(VECTOR_TO_VECTOR, signature(['vector'])),
  ...each(MATRIX_TO_VECTOR, signature(['matrix'])),
  ...each(DATE, signature(['vector'], 'vector', 1)),
  ...each('pi time', signature([], 'scalar')),
  ...each('clamp_max clamp_min', signature(['vector', 'scalar'])),
  ['clamp', signature(['vector', 'scalar', 'scalar'])],
  ['round', signature(['vector', 'scalar'], 'vector', 1)],
  ['scalar', signature(['vector'], 'scalar')],
  ['vector', signature(['scalar'])],
  ['histogram_quantile', signature(['scalar', 'vector'])],
  ['histogram_fraction', signature(['scalar', 'scalar', 'vector'])],
  ['quantile_over_time', signature(['scalar', 'matrix'])],
  ['predict_linear', signature(['matrix', 'scalar'])],
  ['label_replace', signature(['vector', 'string', 'string', 'string', 'string'])],
  ['label_join', signature(['vector', 'string', 'string', 'string'], 'vector', 1, true)],
]);

/** Functions of Prometheus that are not here, so that the error can say so instead of "unknown". */
export const UNSUPPORTED_FUNCTIONS: ReadonlySet<string> = new Set(
  (
    'double_exponential_smoothing first_over_time histogram_avg histogram_count histogram_quantiles histogram_stddev ' +
    'histogram_stdvar histogram_sum holt_winters info mad_over_time max_of min_of range sort_by_label ' +
    'sort_by_label_desc start_timestamp ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ' +
    'ts_of_min_over_time start end step'
  ).split(' '),
);
