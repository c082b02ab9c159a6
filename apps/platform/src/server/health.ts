// The platform's health in three figures, read from its own metrics: what predictors and strategies look at.

import { availableParallelism, loadavg } from 'node:os';
import type { MonitoringStack } from '@heptad/monitoring';

const MS_PER_SECOND = 1000;

/** The single value of a query's instant vector; undefined when it is empty or no number. */
export async function readNumber(
  monitoring: MonitoringStack,
  expression: string,
  at: number,
): Promise<number | undefined> {
  const answer = await monitoring.query(expression, at);
  const { result } = answer;
  const first: unknown = Array.isArray(result) ? result[0] : undefined;
  const value: unknown =
    typeof first === 'object' && first !== null && 'value' in first && Array.isArray(first.value)
      ? first.value[1]
      : first;
  const number = Number(value);
  return value === undefined || Number.isNaN(number) ? undefined : number;
}

/** Load of this machine, 1 = every core busy. */
export function machineLoad(): number {
  return (loadavg()[0] ?? 0) / availableParallelism();
}

/** p99 latency and error rate of requests through the proxy in the last half minute; undefined without traffic. */
export async function trafficHealth(
  monitoring: MonitoringStack,
  at: number,
): Promise<{ latencyMs: number; errorRate: number } | undefined> {
  const window = '30s';
  const requests = await readNumber(
    monitoring,
    `sum(rate(http_server_request_duration_seconds_count{service="heptad-proxy"}[${window}]))`,
    at,
  );
  if (requests === undefined || requests === 0) return undefined;
  const p99 = await readNumber(
    monitoring,
    `histogram_quantile(0.99, sum by (le) (rate(http_server_request_duration_seconds_bucket{service="heptad-proxy"}[${window}])))`,
    at,
  );
  const errors = await readNumber(
    monitoring,
    `sum(rate(http_server_request_duration_seconds_count{service="heptad-proxy",http_response_status_code=~"5.."}[${window}]))`,
    at,
  );
  return { latencyMs: (p99 ?? 0) * MS_PER_SECOND, errorRate: (errors ?? 0) / requests };
}
