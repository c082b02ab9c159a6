// A remote Prometheus (or anything with its HTTP API) as a source of queries.

import { type Clock, errorMessage, systemClock } from '@heptad/core';
import { z } from 'zod';
import type { VectorSource } from '../alert/manager.ts';
import { MonitoringError } from '../errors.ts';
import { parseFloatText, type QueryData, type Vector } from '../query/value.ts';

/** Options of {@link prometheus}. */
export interface PrometheusOptions {
  /** Base URL: `http://127.0.0.1:9090`. */
  readonly url: string;
  /** Sent with every request, for example `authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default 30,000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

/** A remote Prometheus. Serves as `source` of an {@link AlertManager}. */
export interface PrometheusClient extends VectorSource {
  /** As {@link QueryEngine.query}, answered by the remote server. */
  query(expression: string, at?: number): Promise<QueryData>;
  /** As {@link QueryEngine.queryRange}, answered by the remote server. */
  queryRange(
    expression: string,
    range: { readonly start: number; readonly end: number; readonly step: number },
  ): Promise<QueryData>;
}

const sample = z.tuple([z.number(), z.string()]);
const labels = z.record(z.string(), z.string());
const data = z.discriminatedUnion('resultType', [
  z.object({ resultType: z.literal('scalar'), result: sample }),
  z.object({ resultType: z.literal('string'), result: sample }),
  z.object({ resultType: z.literal('vector'), result: z.array(z.object({ metric: labels, value: sample })) }),
  z.object({
    resultType: z.literal('matrix'),
    result: z.array(z.object({ metric: labels, values: z.array(sample) })),
  }),
]);
const answer = z.discriminatedUnion('status', [
  z.object({ status: z.literal('success'), data }),
  z.object({ status: z.literal('error'), errorType: z.string(), error: z.string() }),
]);

const DEFAULT_TIMEOUT_MS = 30_000;

/**
 * Asks a remote Prometheus. Throws `INVALID_QUERY` when it refuses the query, `REMOTE_FAILED` when it cannot be reached
 * or does not answer as Prometheus does.
 *
 * @example
 * ```ts
 * import { AlertManager, prometheus } from '@heptad/monitoring';
 *
 * await using alerts = new AlertManager({
 *   source: prometheus({ url: 'http://127.0.0.1:9090' }),
 *   intervalMs: 0,
 *   rules: [{ name: 'TargetDown', expression: 'up == 0', forMs: 60_000 }],
 * });
 * ```
 */
export function prometheus(options: PrometheusOptions): PrometheusClient {
  const clock = options.clock ?? systemClock;
  const ask = (path: string, parameters: Record<string, string>): Promise<QueryData> =>
    request(options, clock, path, parameters);
  const query = (expression: string, at: number = clock.now()): Promise<QueryData> =>
    ask('query', { query: expression, time: String(at / 1000) });
  return {
    query,
    queryRange: (expression, { start, end, step }) =>
      ask('query_range', {
        query: expression,
        start: String(start / 1000),
        end: String(end / 1000),
        step: String(step / 1000),
      }),
    async vector(expression, at): Promise<Vector> {
      const value = await query(expression, at);
      if (value.resultType === 'scalar') return [{ labels: {}, value: parseFloatText(value.result[1]) }];
      if (value.resultType !== 'vector') {
        throw new MonitoringError(
          'QUERY_FAILED',
          `the expression is a ${value.resultType}, but an instant vector or a scalar is needed`,
        );
      }
      return value.result.map(({ metric, value: [, text] }) => ({
        labels: metric,
        value: parseFloatText(text),
      }));
    },
  };
}

async function request(
  options: PrometheusOptions,
  clock: Clock,
  path: string,
  parameters: Record<string, string>,
): Promise<QueryData> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timeout = new AbortController();
  const timer = clock.timer(timeoutMs, () => timeout.abort(new Error(`no answer within ${timeoutMs} ms`)));
  const fail = (why: string, cause?: unknown): MonitoringError =>
    new MonitoringError('REMOTE_FAILED', `cannot query Prometheus at ${options.url}: ${why}`, {
      cause,
      retryable: true,
    });
  try {
    const response = await fetch(`${options.url.replace(/\/$/, '')}/api/v1/${path}`, {
      method: 'POST',
      headers: { ...options.headers },
      body: new URLSearchParams(parameters),
      signal: timeout.signal,
    }).catch((error: unknown) => {
      throw fail(errorMessage(error), error);
    });
    const text = await response.text();
    const parsed = answer.safeParse(parseJson(text));
    if (!parsed.success) throw fail(`it answered ${response.status} with what is not a query result`);
    if (parsed.data.status === 'success') return parsed.data.data;
    const { errorType, error } = parsed.data;
    if (errorType === 'bad_data')
      throw new MonitoringError('INVALID_QUERY', `Prometheus at ${options.url} refuses the query: ${error}`);
    throw fail(`${errorType}: ${error}`);
  } finally {
    timer.cancel();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
