// monitor query, logs, trace, alerts, anomalies.

import type { AlertResource } from '@heptad/core';
import type { Anomaly, Correlation, SpanNode, StoredLog } from '@heptad/monitoring';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { printJson, printTable } from '../output.ts';

interface QueryAnswer {
  readonly data: {
    readonly resultType: string;
    readonly result:
      | readonly { metric: Record<string, string>; value: [number, string] }[]
      | [number, string];
  };
}

function seriesName(metric: Record<string, string>): string {
  const { __name__: name = '', ...rest } = metric;
  const labels = Object.entries(rest).map(([key, value]) => `${key}="${value}"`);
  return labels.length === 0 ? name || '{}' : `${name}{${labels.join(',')}}`;
}

/** `heptad monitor query`. */
export async function query(expr: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<QueryAnswer>(
    'GET',
    `/api/v1/monitoring/query?query=${encodeURIComponent(expr)}`,
  );
  if (json) return printJson(answer.data);
  const { result } = answer.data;
  const rows = result.map((one) =>
    typeof one === 'object' && 'metric' in one ? [seriesName(one.metric), String(one.value[1])] : undefined,
  );
  const series = rows.filter((row) => row !== undefined);
  if (series.length > 0) printTable(['SERIES', 'VALUE'], series);
  else process.stdout.write(answer.data.resultType === 'scalar' ? `${String(result[1])}\n` : '(no series)\n');
}

/** `heptad monitor logs`. */
export async function logs(search: string, options: { limit: number }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{ items: StoredLog[] }>(
    'GET',
    `/api/v1/logs?search=${encodeURIComponent(search)}&limit=${options.limit}`,
  );
  if (json) return printJson(items);
  // The newest come first over the API; people read downwards.
  for (const line of items.toReversed())
    process.stdout.write(`${new Date(line.at).toISOString()} ${line.service} ${line.level} ${line.body}\n`);
}

function printSpan(span: SpanNode, depth: number): void {
  process.stdout.write(
    `${'  '.repeat(depth)}${span.service}: ${span.name}  ${span.durationMs.toFixed(1)} ms  ${span.status}\n`,
  );
  for (const child of span.children) printSpan(child, depth + 1);
}

/** `heptad monitor trace`: spans, logs and metrics of one request. */
export async function trace(id: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<Correlation>('GET', `/api/v1/traces/${encodeURIComponent(id)}`);
  if (json) return printJson(answer);
  for (const root of answer.trace.roots) printSpan(root, 0);
  for (const line of answer.logs)
    process.stdout.write(`${new Date(line.at).toISOString()} ${line.service ?? '-'} ${line.body}\n`);
  for (const [service, metrics] of Object.entries(answer.metrics))
    process.stdout.write(
      `${service}: ${metrics.length} metrics between ${new Date(answer.window.start).toISOString()} and ${new Date(answer.window.end).toISOString()}\n`,
    );
}

/** `heptad monitor alerts`. */
export async function alerts(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{ items: AlertResource[] }>('GET', '/api/v1/alerts');
  if (json) return printJson(items);
  printTable(
    ['NAME', 'STATE', 'SEVERITY', 'VALUE', 'MESSAGE'],
    items.map(({ name, spec, status }) => [
      name,
      status.state,
      spec.severity,
      status.value === undefined ? '-' : String(status.value),
      status.message,
    ]),
  );
}

/** `heptad monitor anomalies`. */
export async function anomalies(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const { items } = await client.json<{ items: Anomaly[] }>('GET', '/api/v1/anomalies');
  if (json) return printJson(items);
  printTable(
    ['SERVICE', 'SCORE', 'BECAUSE OF'],
    items.map((one) => [
      one.service,
      one.score.toFixed(3),
      one.because.map((deviation) => deviation.metric).join(', '),
    ]),
  );
}
