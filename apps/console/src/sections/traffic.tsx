// Traffic: request rate, latency and errors of the services, as the mesh measured them.

import { useCallback, useState } from 'react';
import type { ApiClient } from '../api/client.ts';
import {
  type Columns,
  RANGES,
  rangeQueryPath,
  type TimeRange,
  toColumns,
  trafficQueries,
} from '../api/query.ts';
import type { QueryAnswer } from '../api/types.ts';
import { usePlatform } from '../hooks/use-platform.ts';
import { usePoll } from '../hooks/use-poll.ts';
import { now } from '../lib/clock.ts';
import { formatPercent, formatRate, formatSeconds } from '../lib/format.ts';
import { Card, DataStates } from '../parts/card.tsx';
import { Chart } from '../parts/chart.tsx';

const REFRESH_MS = 5_000;
const DEFAULT_RANGE: TimeRange = RANGES[1] ?? { label: '15 min', seconds: 900 };

interface Traffic {
  readonly rate: Columns;
  readonly latency: Columns;
  readonly errors: Columns;
}

async function readTraffic(
  client: ApiClient,
  service: string | undefined,
  range: TimeRange,
  signal: AbortSignal,
): Promise<Traffic> {
  const queries = trafficQueries(service, range);
  const at = now();
  const ask = (query: string): Promise<QueryAnswer> => client.get(rangeQueryPath(query, range, at), signal);
  const [rate, p50, p99, errors] = await Promise.all([
    ask(queries.rate),
    ask(queries.p50),
    ask(queries.p99),
    ask(queries.errors),
  ]);
  const name = (metric: Readonly<Record<string, string>>): string => metric.server_address ?? 'all';
  // Of one service both quantiles; of all only the tail, or the lines could not be told apart.
  const latency =
    service === undefined
      ? toColumns([{ answer: p99, labelOf: name }])
      : toColumns([
          { answer: p50, labelOf: () => 'p50' },
          { answer: p99, labelOf: () => 'p99' },
        ]);
  return {
    rate: toColumns([{ answer: rate, labelOf: name }]),
    latency,
    errors: toColumns([{ answer: errors, labelOf: name }]),
  };
}

/** The charts with their choices. */
export function TrafficCharts({
  services,
  paint,
}: {
  readonly services: readonly string[];
  readonly paint: number;
}) {
  const { client } = usePlatform();
  const [service, setService] = useState<string>();
  const [range, setRange] = useState(DEFAULT_RANGE);
  const read = useCallback(
    (signal: AbortSignal) => readTraffic(client, service, range, signal),
    [client, service, range],
  );
  const { data, problem } = usePoll(read, REFRESH_MS);
  return (
    <Card
      id="traffic"
      title="Traffic"
      tools={
        <>
          <select
            aria-label="Service"
            value={service ?? ''}
            onChange={(event) => setService(event.target.value || undefined)}
          >
            <option value="">All services</option>
            {services.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
          <select
            aria-label="Time range"
            value={range.label}
            onChange={(event) =>
              setRange(RANGES.find((one) => one.label === event.target.value) ?? DEFAULT_RANGE)
            }
          >
            {RANGES.map((one) => (
              <option key={one.label}>{one.label}</option>
            ))}
          </select>
        </>
      }
    >
      <DataStates data={data} problem={problem}>
        {(traffic) => (
          <div className="charts">
            <Chart
              title="Requests per second"
              columns={traffic.rate}
              format={formatRate}
              seconds={range.seconds}
              paint={paint}
            />
            <Chart
              title={service === undefined ? 'Latency, 99th percentile' : 'Latency'}
              columns={traffic.latency}
              format={formatSeconds}
              seconds={range.seconds}
              paint={paint}
            />
            <Chart
              title="Share of failed requests (5xx)"
              columns={traffic.errors}
              format={formatPercent}
              seconds={range.seconds}
              paint={paint}
            />
          </div>
        )}
      </DataStates>
    </Card>
  );
}
