// The query API: one time or a range of times, answered in the format of the Prometheus HTTP API.

import { type Clock, systemClock } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import { METRIC_NAME } from '../metrics/labels.ts';
import type { Expression } from './ast.ts';
import { typeOf } from './check.ts';
import { Evaluator } from './evaluator.ts';
import { LabelCache } from './label-cache.ts';
import { parsePromql } from './parser.ts';
import { type SampleSource, Selection } from './selection.ts';
import { type ApiSample, formatValue, type QueryData, type Value, type Vector } from './value.ts';

/** How long a sample counts as the current value. Prometheus' default. */
export const LOOKBACK_MS: number = 5 * 60 * 1000;
/** Most points of one series that a range query answers, as in Prometheus: more than any screen has pixels. */
export const MAX_POINTS = 11_000;
/** Samples one query may read from the store. */
const MAX_SAMPLES = 10_000_000;
/** Elements and samples one query may touch, all steps together. */
const MAX_WORK = 50_000_000;
/** A query is given up after this long. */
const TIMEOUT_MS = 10_000;
/** Evaluation lets other work of the process run after this long. */
const SLICE_MS = 20;

/** Options of {@link QueryEngine}. */
export interface QueryEngineOptions {
  readonly clock?: Clock;
  /** How old a sample may be to count as the current value, in milliseconds. Default 5 minutes. */
  readonly lookbackMs?: number;
  /** Most samples one query may read. Default 10,000,000. */
  readonly maxSamples?: number;
  /** Milliseconds after which a query is given up. Default 10,000. */
  readonly timeoutMs?: number;
}

/** A range of times, in milliseconds. */
export interface QueryRange {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/**
 * PromQL over a source of samples.
 *
 * @example
 * ```ts
 * import { MetricStore, QueryEngine } from '@heptad/monitoring';
 *
 * await using store = new MetricStore();
 * const labels = { __name__: 'up', service: 'orders' };
 * const now = Date.now();
 * await store.append([{ labels, at: now, value: 1 }]);
 * const data = await new QueryEngine(store).query('sum by (service) (up)', now);
 * console.log(JSON.stringify(data.result)); // [{"metric":{"service":"orders"},"value":[…,"1"]}]
 * ```
 */
export class QueryEngine {
  readonly #source: SampleSource;
  readonly #clock: Clock;
  readonly #lookbackMs: number;
  readonly #maxSamples: number;
  readonly #timeoutMs: number;

  constructor(source: SampleSource, options: QueryEngineOptions = {}) {
    this.#source = source;
    this.#clock = options.clock ?? systemClock;
    this.#lookbackMs = options.lookbackMs ?? LOOKBACK_MS;
    this.#maxSamples = options.maxSamples ?? MAX_SAMPLES;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  /**
   * The value of `expression` at one time (milliseconds, default now).
   *
   * @throws `INVALID_QUERY`, `NOT_SUPPORTED`, `QUERY_FAILED`, `QUERY_TOO_EXPENSIVE`.
   */
  async query(expression: string, at: number = this.#clock.now()): Promise<QueryData> {
    const tree = parsePromql(expression);
    const evaluator = this.#prepare(tree, at, at);
    return instantData(evaluator.evaluate(tree, at), at);
  }

  /** The elements of an instant vector, for programs; a scalar is one element without labels. */
  async vector(expression: string, at: number = this.#clock.now()): Promise<Vector> {
    const tree = parsePromql(expression);
    const value = this.#prepare(tree, at, at).evaluate(tree, at);
    if (value.type === 'vector') return value.vector;
    if (value.type === 'scalar') return [{ labels: {}, value: value.value }];
    throw new MonitoringError(
      'QUERY_FAILED',
      `the expression is a ${value.type}, but an instant vector or a scalar is needed`,
    );
  }

  /** The values of `expression` at `start`, `start + step`, … up to `end`. Throws as {@link QueryEngine.query}. */
  async queryRange(expression: string, range: QueryRange, signal?: AbortSignal): Promise<QueryData> {
    const tree = parsePromql(expression);
    const steps = checkRange(range);
    const type = typeOf(tree);
    if (type !== 'vector' && type !== 'scalar') {
      throw new MonitoringError(
        'INVALID_QUERY',
        `a range query needs an instant vector or a scalar, this expression is a ${type}`,
        {
          details: { position: 0, line: 1, column: 1 },
        },
      );
    }
    const evaluator = this.#prepare(tree, range.start, range.end);
    const collector = new MatrixCollector();
    let slice = this.#clock.monotonicMs() + SLICE_MS;
    for (let step = 0; step < steps; step++) {
      const at = range.start + step * range.step;
      collector.add(evaluator.evaluate(tree, at), at);
      if (this.#clock.monotonicMs() < slice) continue;
      signal?.throwIfAborted();
      await this.#clock.sleep(0, signal);
      slice = this.#clock.monotonicMs() + SLICE_MS;
    }
    return collector.data();
  }

  #prepare(tree: Expression, start: number, end: number): Evaluator {
    const times = { start, end, lookbackMs: this.#lookbackMs };
    const selection = new Selection(this.#source, times, this.#maxSamples);
    selection.load(tree, start, end);
    const deadline = this.#clock.monotonicMs() + this.#timeoutMs;
    return new Evaluator(selection, times, MAX_WORK, () => {
      if (this.#clock.monotonicMs() > deadline) throw timedOut(this.#timeoutMs);
    });
  }
}

function timedOut(timeoutMs: number): MonitoringError {
  return new MonitoringError(
    'QUERY_TOO_EXPENSIVE',
    `the query did not finish within ${timeoutMs} ms and was given up`,
    {
      hint: 'ask for fewer series, a shorter range or a larger step',
    },
  );
}

function checkRange({ start, end, step }: QueryRange): number {
  const bad = (why: string): MonitoringError =>
    new MonitoringError('INVALID_ARGUMENT', `cannot query a range: ${why}`);
  if (!Number.isFinite(start) || !Number.isFinite(end) || end < start)
    throw bad('the end is before the start');
  if (!(step > 0) || !Number.isFinite(step)) throw bad('the step must be a positive number of milliseconds');
  const steps = Math.floor((end - start) / step) + 1;
  if (steps > MAX_POINTS) {
    throw new MonitoringError(
      'QUERY_TOO_EXPENSIVE',
      `cannot query a range: it has ${steps} points per series, at most ${MAX_POINTS} are answered`,
      {
        hint: 'use a larger step or a shorter range',
      },
    );
  }
  return steps;
}

function sample(at: number, value: number): ApiSample {
  return [at / 1000, formatValue(value)];
}

function instantData(value: Value, at: number): QueryData {
  switch (value.type) {
    case 'scalar':
      return { resultType: 'scalar', result: sample(at, value.value) };
    case 'string':
      return { resultType: 'string', result: [at / 1000, value.value] };
    case 'vector':
      return {
        resultType: 'vector',
        result: value.vector.map((element) => ({ metric: element.labels, value: sample(at, element.value) })),
      };
    case 'matrix':
      return {
        resultType: 'matrix',
        result: value.matrix.series.map(({ labels, times, values, from, to }) => ({
          metric: labels,
          values: Array.from(times.subarray(from, to), (time, index) =>
            sample(time, values[from + index] ?? Number.NaN),
          ),
        })),
      };
  }
}

/** Gathers the steps of a range query into series. */
class MatrixCollector {
  readonly #labels = new LabelCache();
  readonly #series = new Map<string, { metric: Vector[number]['labels']; values: ApiSample[] }>();

  add(value: Value, at: number): void {
    const vector =
      value.type === 'scalar'
        ? [{ labels: {}, value: value.value }]
        : value.type === 'vector'
          ? value.vector
          : [];
    for (const element of vector) {
      const key = this.#labels.key(element.labels);
      const known = this.#series.get(key);
      if (known === undefined)
        this.#series.set(key, { metric: element.labels, values: [sample(at, element.value)] });
      else known.values.push(sample(at, element.value));
    }
  }

  data(): QueryData {
    const result = [...this.#series.values()].sort((a, b) => {
      const [x, y] = [sortKey(a.metric), sortKey(b.metric)];
      return x < y ? -1 : x > y ? 1 : 0;
    });
    return { resultType: 'matrix', result };
  }
}

function sortKey(labels: Vector[number]['labels']): string {
  return `${labels[METRIC_NAME] ?? ''}\u0000${JSON.stringify(Object.entries(labels).sort())}`;
}
