// Prometheus' HTTP query API as a function from path and parameters to status and body.

import { errorMessage, isHeptadError } from '@heptad/core';
import { MonitoringError } from '../errors.ts';
import type { Labels } from '../metrics/labels.ts';
import type { Matcher } from '../metrics/matcher.ts';
import { unwrap } from './ast.ts';
import { durationMs } from './lexer.ts';
import { parsePromql } from './parser.ts';
import type { QueryData } from './value.ts';

/** What the API needs of a stack. */
export interface QueryBackend {
  query(expression: string, at?: number): Promise<QueryData>;
  queryRange(expression: string, start: number, end: number, step: number): Promise<QueryData>;
  readonly metrics: {
    series(matchers: readonly Matcher[]): Labels[];
    labelNames(): string[];
    labelValues(name: string): string[];
    readonly metadata: ReadonlyMap<
      string,
      { readonly type: string; readonly help: string; readonly unit: string }
    >;
  };
}

/** An answer to send as JSON. */
export interface PrometheusAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Answers `query`, `query_range`, `series`, `labels`, `label/NAME/values` and `metadata`; anything else is 404. */
export async function prometheusApi(
  backend: QueryBackend,
  path: string,
  parameters: URLSearchParams,
): Promise<PrometheusAnswer> {
  try {
    const data = await answer(backend, path, parameters);
    if (data === undefined) return failure(404, 'not_found', `there is no API ${path}`);
    return { status: 200, body: { status: 'success', data } };
  } catch (error) {
    return errorAnswer(error);
  }
}

function failure(status: number, errorType: string, error: string): PrometheusAnswer {
  return { status, body: { status: 'error', errorType, error } };
}

function errorAnswer(error: unknown): PrometheusAnswer {
  if (!isHeptadError(error)) throw error;
  const message = error.hint === undefined ? errorMessage(error) : `${error.message}; ${error.hint}`;
  if (error.code === 'QUERY_FAILED' || error.code === 'QUERY_TOO_EXPENSIVE')
    return failure(422, 'execution', message);
  return failure(400, 'bad_data', message);
}

async function answer(backend: QueryBackend, path: string, parameters: URLSearchParams): Promise<unknown> {
  const label = /^label\/([^/]+)\/values$/.exec(path)?.[1];
  if (label !== undefined) return labelValues(backend, decodeURIComponent(label), parameters);
  switch (path) {
    case 'query': {
      const at = parameters.get('time');
      return backend.query(required(parameters, 'query'), at === null ? undefined : timeMs('time', at));
    }
    case 'query_range':
      return backend.queryRange(
        required(parameters, 'query'),
        timeMs('start', required(parameters, 'start')),
        timeMs('end', required(parameters, 'end')),
        stepMs(required(parameters, 'step')),
      );
    case 'series':
      if (!parameters.has('match[]')) required(parameters, 'match[]');
      return selected(backend, parameters);
    case 'labels': {
      if (!parameters.has('match[]')) return backend.metrics.labelNames();
      return [...new Set(selected(backend, parameters).flatMap((labels) => Object.keys(labels)))].sort();
    }
    case 'metadata':
      return Object.fromEntries([...backend.metrics.metadata].map(([name, about]) => [name, [about]]));
    default:
      return undefined;
  }
}

function labelValues(backend: QueryBackend, name: string, parameters: URLSearchParams): string[] {
  if (!parameters.has('match[]')) return backend.metrics.labelValues(name);
  const values = selected(backend, parameters).flatMap((labels) => labels[name] ?? []);
  return [...new Set(values)].sort();
}

function selected(backend: QueryBackend, parameters: URLSearchParams): Labels[] {
  const found = new Set<Labels>();
  for (const text of parameters.getAll('match[]')) {
    const tree = unwrap(parsePromql(text));
    if (tree.kind !== 'vector-selector')
      throw new MonitoringError('INVALID_QUERY', `match[] must be a selector, got ${text}`);
    for (const labels of backend.metrics.series(tree.matchers)) found.add(labels);
  }
  return [...found];
}

function required(parameters: URLSearchParams, name: string): string {
  const value = parameters.get(name);
  if (value === null || value === '')
    throw new MonitoringError('INVALID_ARGUMENT', `the parameter ${name} is missing`);
  return value;
}

/** A Unix time in seconds or RFC 3339. */
function timeMs(name: string, text: string): number {
  const seconds = Number(text);
  const ms = Number.isFinite(seconds) ? Math.round(seconds * 1000) : Date.parse(text);
  if (Number.isFinite(ms)) return ms;
  throw new MonitoringError('INVALID_ARGUMENT', `the parameter ${name} is not a time: "${text}"`, {
    hint: 'give seconds since 1970 or a time like 2026-01-31T12:00:00Z',
  });
}

function stepMs(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return Math.round(seconds * 1000);
  const ms = /^(\d+[a-z]+)+$/.test(text) ? durationMs(text) : Number.NaN;
  if (Number.isFinite(ms)) return ms;
  throw new MonitoringError('INVALID_ARGUMENT', `the parameter step is not a duration: "${text}"`, {
    hint: 'give seconds, or 30s, 1m',
  });
}
