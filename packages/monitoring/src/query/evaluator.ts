// Evaluates a checked PromQL tree at one time after another.

import { MonitoringError } from '../errors.ts';
import { aggregate } from './aggregate.ts';
import { applyOperator } from './arithmetic.ts';
import { type Binary, type Expression, isSetOperator, type Subquery, unwrap } from './ast.ts';
import { setOperation, vectorWithScalar, vectorWithVector } from './binary.ts';
import { callFunction } from './call.ts';
import { LabelCache } from './label-cache.ts';
import { type QueryTimes, type Selection, shiftTime } from './selection.ts';
import type { Element, Matrix, RangeSeries, Value, Vector } from './value.ts';

/** `[1h:]` evaluates every minute, Prometheus' default evaluation interval. */
const DEFAULT_SUBQUERY_STEP_MS = 60_000;

/** Most evaluations of a subquery's inner expression for one outer step: `[15d:1ms]` is a mistake or an attack. */
const MAX_SUBQUERY_STEPS = 50_000;
/** A step costs something even when it yields nothing. */
const STEP_WORK = 10;
/** The clock is asked after this much work: a few milliseconds. */
const WORK_PER_LOOK = 100_000;

/** Evaluates one tree; not to be shared between queries. */
export class Evaluator {
  readonly labels: LabelCache = new LabelCache();
  readonly #selection: Selection;
  readonly #times: QueryTimes;
  readonly #subqueries = new Map<Subquery, Map<number, Vector>>();
  readonly #assertInTime: () => void;
  #budget: number;
  #lookAt: number;

  /**
   * `maxWork` bounds the elements and samples that are touched, all steps together; `assertInTime` throws when the query
   * has taken too long.
   */
  constructor(selection: Selection, times: QueryTimes, maxWork: number, assertInTime: () => void) {
    this.#selection = selection;
    this.#times = times;
    this.#assertInTime = assertInTime;
    this.#budget = maxWork;
    this.#lookAt = maxWork - WORK_PER_LOOK;
  }

  /** The value of `node` at `now`. */
  evaluate(node: Expression, now: number): Value {
    switch (node.kind) {
      case 'number':
        return { type: 'scalar', value: node.value };
      case 'string':
        return { type: 'string', value: node.value };
      case 'parenthesis':
        return this.evaluate(node.inner, now);
      case 'vector-selector':
        return this.#counted(this.#selection.instant(node, now));
      case 'matrix-selector':
        return { type: 'matrix', matrix: this.#countedMatrix(this.#selection.range(node, now)) };
      case 'subquery':
        return { type: 'matrix', matrix: this.#countedMatrix(this.#subquery(node, now)) };
      case 'unary':
        return this.#unary(node, now);
      case 'aggregation': {
        const vector = this.vector(node.expression, now);
        const parameter = node.parameter === undefined ? undefined : this.#parameter(node.parameter, now);
        return this.#counted(aggregate(node, vector, parameter, this.labels));
      }
      case 'call': {
        const value = callFunction(this, node, now);
        return value.type === 'vector' ? this.#counted(value.vector) : value;
      }
      case 'binary':
        return this.#binary(node, now);
    }
  }

  /** The value of an expression that was checked to be an instant vector. */
  vector(node: Expression, now: number): Vector {
    const value = this.evaluate(node, now);
    return value.type === 'vector' ? value.vector : [];
  }

  /** The value of an expression that was checked to be a range vector. */
  matrix(node: Expression, now: number): Matrix {
    const value = this.evaluate(node, now);
    return value.type === 'matrix' ? value.matrix : { series: [], start: now, end: now };
  }

  /** The value of an expression that was checked to be a scalar. */
  scalar(node: Expression, now: number): number {
    const value = this.evaluate(node, now);
    return value.type === 'scalar' ? value.value : Number.NaN;
  }

  /** The value of an expression that was checked to be a string. */
  text(node: Expression | undefined): string {
    const inner = node === undefined ? undefined : unwrap(node);
    return inner?.kind === 'string' ? inner.value : '';
  }

  /** Refuses a vector in which two elements have the same labels. */
  assertDistinct(vector: Vector): Vector {
    const seen = new Set<string>();
    for (const element of vector) seen.add(this.labels.key(element.labels));
    if (seen.size < vector.length) {
      throw new MonitoringError('QUERY_FAILED', 'vector cannot contain metrics with the same labelset', {
        hint: 'after the metric name is dropped these series are the same; aggregate, or select by one name',
      });
    }
    return vector;
  }

  #parameter(node: Expression, now: number): number | string {
    const value = this.evaluate(node, now);
    return value.type === 'string' || value.type === 'scalar' ? value.value : Number.NaN;
  }

  #unary(node: Expression & { kind: 'unary' }, now: number): Value {
    const value = this.evaluate(node.operand, now);
    if (node.operator === '+') return value;
    if (value.type === 'scalar') return { type: 'scalar', value: -value.value };
    if (value.type !== 'vector') return value;
    const negated = value.vector.map(
      (e): Element => ({ labels: this.labels.dropName(e.labels), value: -e.value }),
    );
    return this.#counted(this.assertDistinct(negated));
  }

  #binary(node: Binary, now: number): Value {
    const left = this.evaluate(node.left, now);
    const right = this.evaluate(node.right, now);
    if (left.type === 'scalar' && right.type === 'scalar') {
      return { type: 'scalar', value: applyOperator(node.operator, left.value, right.value) };
    }
    if (left.type === 'vector' && right.type === 'vector') {
      if (isSetOperator(node.operator))
        return this.#counted(setOperation(node, left.vector, right.vector, this.labels));
      return this.#counted(vectorWithVector(node, left.vector, right.vector, this.labels));
    }
    if (left.type === 'vector' && right.type === 'scalar') {
      return this.#counted(
        this.assertDistinct(vectorWithScalar(node, left.vector, right.value, false, this.labels)),
      );
    }
    if (left.type === 'scalar' && right.type === 'vector') {
      return this.#counted(
        this.assertDistinct(vectorWithScalar(node, right.vector, left.value, true, this.labels)),
      );
    }
    throw new MonitoringError(
      'QUERY_FAILED',
      `cannot apply "${node.operator}" to ${left.type} and ${right.type}`,
    );
  }

  /** Evaluates the inner expression at every multiple of the step inside the range. */
  #subquery(node: Subquery, now: number): Matrix {
    const step = node.stepMs ?? DEFAULT_SUBQUERY_STEP_MS;
    const end = shiftTime(node, now, this.#times);
    const start = end - node.rangeMs;
    if (node.rangeMs / step > MAX_SUBQUERY_STEPS) throw tooManySteps(Math.floor(node.rangeMs / step));
    let known = this.#subqueries.get(node);
    if (known === undefined) {
      known = new Map();
      this.#subqueries.set(node, known);
    }
    const collected = new Map<string, { labels: Element['labels']; times: number[]; values: number[] }>();
    for (let at = (Math.floor(start / step) + 1) * step; at <= end; at += step) {
      // Outer steps overlap, so most inner results are needed again.
      let vector = known.get(at);
      if (vector === undefined) {
        vector = this.vector(node.expression, at);
        known.set(at, vector);
      }
      this.#spend(vector.length + STEP_WORK);
      for (const { labels, value } of vector) {
        const key = this.labels.key(labels);
        const series = collected.get(key);
        if (series === undefined) collected.set(key, { labels, times: [at], values: [value] });
        else {
          series.times.push(at);
          series.values.push(value);
        }
      }
    }
    const series = [...collected.values()].map(
      ({ labels, times, values }): RangeSeries => ({
        labels,
        times: Float64Array.from(times),
        values: Float64Array.from(values),
        from: 0,
        to: times.length,
      }),
    );
    return { series, start, end };
  }

  #counted(vector: Vector): Value {
    this.#spend(vector.length + 1);
    return { type: 'vector', vector };
  }

  #countedMatrix(matrix: Matrix): Matrix {
    for (const series of matrix.series) this.#spend(series.to - series.from);
    return matrix;
  }

  #spend(work: number): void {
    this.#budget -= work;
    if (this.#budget < this.#lookAt) {
      this.#lookAt = this.#budget - WORK_PER_LOOK;
      this.#assertInTime();
    }
    if (this.#budget < 0) {
      throw new MonitoringError('QUERY_TOO_EXPENSIVE', 'the query would process more samples than allowed', {
        hint: 'ask for fewer series, a shorter range or a larger step',
      });
    }
  }
}

function tooManySteps(steps: number): MonitoringError {
  return new MonitoringError(
    'QUERY_TOO_EXPENSIVE',
    `a subquery has ${steps} steps, at most ${MAX_SUBQUERY_STEPS} are evaluated`,
    { hint: 'use a larger step or a shorter range' },
  );
}
