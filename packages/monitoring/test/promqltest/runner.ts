// Runs a promqltest script against the query engine and says what differs.

import { isHeptadError } from '@heptad/core';
import { type Labels, labelKey } from '../../src/metrics/labels.ts';
import type { Matcher } from '../../src/metrics/matcher.ts';
import { Postings } from '../../src/metrics/postings.ts';
import type { SeriesData } from '../../src/metrics/store-types.ts';
import { QueryEngine } from '../../src/query/engine.ts';
import type { SampleSource } from '../../src/query/selection.ts';
import { type ApiSample, parseFloatText, type QueryData } from '../../src/query/value.ts';
import { type Evaluation, type ExpectedSeries, type LoadedSeries, readScript } from './script.ts';

/** Samples as loaded, at times near 1970 that a real store would refuse as too old. */
class LoadedSamples implements SampleSource {
  readonly #postings = new Postings<LoadedSeries>();
  readonly #byKey = new Map<string, LoadedSeries>();

  add(series: LoadedSeries): void {
    const key = labelKey(series.labels);
    const known = this.#byKey.get(key);
    if (known === undefined) {
      this.#byKey.set(key, series);
      this.#postings.add(series);
      return;
    }
    known.times.push(...series.times);
    known.values.push(...series.values);
  }

  select(matchers: readonly Matcher[], start: number, end: number): SeriesData[] {
    return this.#postings.select(matchers).map(({ labels, times, values }) => {
      const keep = times
        .map((time, index) => ({ time, index }))
        .filter(({ time }) => time >= start && time <= end);
      return {
        labels,
        times: Float64Array.from(keep, ({ time }) => time),
        values: Float64Array.from(keep, ({ index }) => values[index] ?? 0),
      };
    });
  }
}

export interface ScriptResult {
  passed: number;
  /** Needs something that is not supported, and said so. */
  unsupported: { line: number; query: string; why: string }[];
  failed: { line: number; query: string; why: string }[];
}

export async function runScript(text: string): Promise<ScriptResult> {
  const result: ScriptResult = { passed: 0, unsupported: [], failed: [] };
  let source = new LoadedSamples();
  let tainted: string | undefined;
  for (const command of readScript(text)) {
    if (command.kind === 'clear') {
      source = new LoadedSamples();
      tainted = undefined;
    } else if (command.kind === 'load') {
      for (const series of command.series) source.add(series);
      tainted ??= command.unreadable;
    } else {
      const { evaluation } = command;
      const { line, query } = evaluation;
      const why = await check(source, evaluation);
      if (why === undefined) result.passed++;
      else if (typeof why !== 'string') result.unsupported.push({ line, query, why: why.unsupported });
      else if (evaluation.unreadable !== undefined || tainted !== undefined) {
        result.unsupported.push({ line, query, why: evaluation.unreadable ?? tainted ?? '' });
      } else result.failed.push({ line, query, why });
    }
  }
  return result;
}

async function check(
  source: SampleSource,
  evaluation: Evaluation,
): Promise<string | { unsupported: string } | undefined> {
  const { query, start, end, step, fails, at, matrix } = evaluation;
  const engine = new QueryEngine(source);
  let data: QueryData;
  try {
    data =
      step === 0 || matrix
        ? await engine.query(query, at)
        : await engine.queryRange(query, { start, end, step });
  } catch (error) {
    if (isHeptadError(error, 'NOT_SUPPORTED')) return { unsupported: error.message };
    if (!isHeptadError(error)) return `crashed: ${error instanceof Error ? error.stack : String(error)}`;
    return fails ? undefined : error.message;
  }
  if (fails) return `should fail, but answered ${JSON.stringify(data).slice(0, 200)}`;
  if (evaluation.unreadable !== undefined) return { unsupported: evaluation.unreadable };
  return compare(data, evaluation);
}

function compare(data: QueryData, evaluation: Evaluation): string | undefined {
  if (evaluation.scalar !== undefined && evaluation.expected.length === 0) {
    if (data.resultType === 'scalar')
      return different(Number(parse(data.result)), evaluation.scalar, 'scalar');
    if (data.resultType === 'matrix')
      return different(parse(data.result[0]?.values[0]), evaluation.scalar, 'scalar');
    return `expected the scalar ${evaluation.scalar}, got ${data.resultType}`;
  }
  if (data.resultType === 'scalar' || data.resultType === 'string')
    return `unexpected ${data.resultType} ${data.result[1]}`;
  const actual = new Map<string, { metric: Labels; samples: ApiSample[] }>();
  const order: string[] = [];
  for (const series of data.result) {
    const key = labelKey(series.metric);
    order.push(key);
    actual.set(key, { metric: series.metric, samples: 'value' in series ? [series.value] : series.values });
  }
  const wantedKeys = evaluation.expected.map((series) => labelKey(series.labels));
  if (evaluation.ordered && order.join() !== wantedKeys.join()) return `order ${JSON.stringify(data.result)}`;
  for (const wanted of evaluation.expected) {
    const why = compareSeries(actual.get(labelKey(wanted.labels))?.samples, wanted, evaluation);
    if (why !== undefined) return why;
  }
  const extra = order.find((key) => !wantedKeys.includes(key));
  return extra === undefined ? undefined : `unexpected series ${JSON.stringify(actual.get(extra))}`;
}

function compareSeries(
  samples: ApiSample[] | undefined,
  wanted: ExpectedSeries,
  { start, step }: Evaluation,
): string | undefined {
  if (samples === undefined) {
    return wanted.values.every((v) => v === undefined)
      ? undefined
      : `missing series ${JSON.stringify(wanted)}`;
  }
  const byTime = new Map(samples.map((sample) => [Math.round(sample[0] * 1000), parse(sample)]));
  const count = Math.max(wanted.values.length, step === 0 ? 1 : 0);
  for (let index = 0; index < count; index++) {
    const value = byTime.get(start + index * step);
    const expected = wanted.values[index];
    byTime.delete(start + index * step);
    if (value === undefined && expected === undefined) continue;
    if (value === undefined || expected === undefined)
      return `at step ${index} ${JSON.stringify(wanted.labels)}: ${value}, expected ${expected}`;
    const why = different(value, expected, `at step ${index} ${JSON.stringify(wanted.labels)}`);
    if (why !== undefined) return why;
  }
  return byTime.size === 0 ? undefined : `${byTime.size} samples too many`;
}

function parse(sample: ApiSample | undefined): number {
  return sample === undefined || sample[1] === 'NaN' ? Number.NaN : parseFloatText(sample[1]);
}

function different(actual: number, expected: number, where: string): string | undefined {
  if (Object.is(actual, expected) || actual === expected) return undefined;
  const scale = Math.abs(actual) + Math.abs(expected);
  // Relative error of 1e-6, as promqltest compares.
  if (Math.abs(actual - expected) / Math.min(scale, Number.MAX_VALUE) < 1e-6) return undefined;
  return `${where}: ${actual}, expected ${expected}`;
}
