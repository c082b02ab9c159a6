// Against a real Prometheus: the same answers to the same queries over the same samples, and it can scrape us.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  MetricStore,
  MonitoringServer,
  MonitoringStack,
  type PrometheusClient,
  prometheus,
  QueryEngine,
  type Sample,
} from '../src/index.ts';

const installed =
  spawnSync('prometheus', ['--version']).status === 0 && spawnSync('promtool', ['--version']).status === 0;
if (!installed && process.env.CI === 'true')
  throw new Error('prometheus is not installed: apt-get install prometheus');

/** Whole minutes, three hours ago: blocks are made of what is past. */
const BEGIN = Math.floor(Date.now() / 60_000) * 60_000 - 3 * 3_600_000;
const POINTS = 240;

function samples(): Sample[] {
  const out: Sample[] = [];
  let state = 42;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (const [instance, service] of [
    ['1', 'a'],
    ['2', 'a'],
    ['3', 'b'],
  ] as const) {
    let total = 0;
    const buckets = [0, 0, 0];
    for (let index = 0; index < POINTS; index++) {
      // Every 15 s with jitter, some missing, counters that restart.
      if (random() < 0.05) continue;
      const at = BEGIN + index * 15_000 + Math.floor(random() * 2000);
      if (random() < 0.02) total = 0;
      total += Math.floor(random() * 50);
      for (const [position] of buckets.entries())
        buckets[position] = (buckets[position] ?? 0) + Math.floor(random() * 5);
      const labels = { instance, service };
      out.push({ labels: { ...labels, __name__: 'requests_total' }, at, value: total });
      out.push({
        labels: { ...labels, __name__: 'temperature' },
        at,
        value: Math.round(random() * 1000) / 10 - 20,
      });
      let cumulative = 0;
      for (const [position, le] of ['0.1', '1', '+Inf'].entries()) {
        cumulative += buckets[position] ?? 0;
        out.push({ labels: { ...labels, le, __name__: 'latency_bucket' }, at, value: cumulative });
      }
    }
  }
  return out.sort((a, b) => a.at - b.at);
}

/** Off the sample times, where the left border of a range is open in Prometheus 3 (and here) and closed in 2. */
const AT = BEGIN + 40 * 60_000 + 7321;
const QUERIES = [
  'rate(requests_total[5m])',
  'increase(requests_total[17m])',
  'irate(requests_total[2m])',
  'idelta(temperature[2m])',
  'delta(temperature[10m])',
  'deriv(temperature[10m])',
  'predict_linear(temperature[10m], 600)',
  'resets(requests_total[30m])',
  'changes(temperature[30m])',
  'sum by (service) (rate(requests_total[5m]))',
  'sum without (instance) (requests_total)',
  'avg by (service) (temperature)',
  'stddev(temperature)',
  'stdvar by (service) (temperature)',
  'topk(2, temperature)',
  'bottomk by (service) (1, temperature)',
  'quantile(0.3, temperature)',
  'count_values("v", round(temperature, 50))',
  'avg_over_time(temperature[10m])',
  'quantile_over_time(0.9, temperature[10m])',
  'stddev_over_time(temperature[10m])',
  'last_over_time(temperature[1m])',
  'count_over_time(temperature[20m])',
  'histogram_quantile(0.9, rate(latency_bucket[5m]))',
  'histogram_quantile(0.5, sum by (le, service) (rate(latency_bucket[5m])))',
  'requests_total / on (instance, service) temperature',
  'rate(requests_total[5m]) / on (service) group_left sum by (service) (rate(requests_total[5m]))',
  'temperature > 0',
  'temperature > bool 0',
  'temperature and requests_total > 100',
  'temperature unless temperature > 10',
  'temperature > 20 or requests_total',
  'clamp(temperature, -5, 5)',
  'abs(temperature) + ceil(temperature) - floor(temperature) * sgn(temperature)',
  'temperature % 7 ^ 2',
  '-temperature',
  'requests_total offset 10m',
  'rate(requests_total[5m] offset -3m)',
  'max_over_time(rate(requests_total[2m])[20m:1m])',
  'avg_over_time(temperature[30m:7m])',
  'label_replace(temperature, "kind", "$1-$2", "service", "(.)(.*)")',
  'label_join(temperature, "all", "/", "service", "instance")',
  'absent(nothing{service="x"})',
  'sort_desc(temperature)',
  'timestamp(temperature)',
  'hour(timestamp(temperature)) + minute() + day_of_week() + days_in_month() + year()',
  'scalar(temperature{instance="1"}) + time()',
  `temperature @ ${(BEGIN + 20 * 60_000 + 333) / 1000}`,
  'temperature{service=~"a|c", instance!~"2.*"}',
  '{__name__=~"temp.+", service!=""}',
];

describe.skipIf(!installed)('beside Prometheus (apt-get install prometheus)', () => {
  const directory = mkdtempSync(join(tmpdir(), 'heptad-prometheus-'));
  const stack = new MonitoringStack();
  let ours: MonitoringServer;
  let server: ChildProcess;
  let client: PrometheusClient;

  beforeAll(async () => {
    ours = await MonitoringServer.listen(stack, { port: 0 });
    await stack.append('orders_total', { service: 'orders', note: 'quote " backslash \\ line\nend' }, 41);
    const lines = samples().map(({ labels: { __name__: name, ...labels }, at, value }) => {
      const inner = Object.entries(labels).map(([key, text]) => `${key}="${text}"`);
      return `${name}{${inner.join(',')}} ${value} ${at / 1000}`;
    });
    // OpenMetrics wants the samples of one family together.
    const family = (line: string): string => line.slice(0, line.indexOf('{'));
    lines.sort((a, b) => (family(a) < family(b) ? -1 : family(a) > family(b) ? 1 : 0));
    writeFileSync(join(directory, 'page.txt'), `${lines.join('\n')}\n# EOF\n`);
    execFileSync('promtool', [
      'tsdb',
      'create-blocks-from',
      'openmetrics',
      join(directory, 'page.txt'),
      join(directory, 'data'),
    ]);
    const target = new URL(ours.url).host;
    writeFileSync(
      join(directory, 'prometheus.yml'),
      `scrape_configs:\n  - job_name: heptad\n    scrape_interval: 1s\n    static_configs:\n      - targets: ['${target}']\n`,
    );
    const port = await freePort();
    server = spawn(
      'prometheus',
      [
        `--config.file=${join(directory, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(directory, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=error',
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    client = prometheus({ url: `http://127.0.0.1:${port}` });
    for (;;) {
      const ready = await fetch(`http://127.0.0.1:${port}/-/ready`)
        .then((answer) => answer.ok)
        .catch(() => false);
      if (ready) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });

  afterAll(async () => {
    if (server !== undefined) {
      server.kill('SIGTERM');
      await new Promise((resolve) => server.once('close', resolve));
    }
    await ours[Symbol.asyncDispose]();
    await stack[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  it('answers the same', async () => {
    await using store = new MetricStore();
    const { rejected } = await store.append(samples());
    expect(rejected).toEqual([]);
    const engine = new QueryEngine(store);
    for (const query of QUERIES) {
      expect(comparable(await engine.query(query, AT)), query).toEqual(
        comparable(await client.query(query, AT)),
      );
      if (/topk|bottomk|sort/.test(query)) continue;
      const range = { start: AT, end: AT + 15 * 60_000, step: 61_000 };
      expect(comparable(await engine.queryRange(query, range)), `${query} over a range`).toEqual(
        comparable(await client.queryRange(query, range)),
      );
    }
  });

  it('scrapes our page, escapes included', async () => {
    for (;;) {
      const data = await client.query('orders_total');
      if (data.resultType === 'vector' && data.result.length > 0) {
        expect(data.result[0]).toMatchObject({
          metric: { service: 'orders', note: 'quote " backslash \\ line\nend' },
          value: [expect.any(Number), '41'],
        });
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const up = await client.vector('up{job="heptad"}', Date.now());
    expect(up[0]?.value).toBe(1);
  });

  it('can be scraped by us', async () => {
    const result = await stack.scrape(`${new URL(await clientUrl()).origin}/metrics`, {
      labels: { service: 'prometheus' },
    });
    expect(result).toMatchObject({ up: true, rejected: 0 });
    expect(result.samples).toBeGreaterThan(100);
    const [build] = await stack.engine.vector('prometheus_build_info{service="prometheus"}');
    expect(build?.labels.version).toMatch(/^\d/);
  });

  it('passes on why the remote refuses a query', async () => {
    await expect(client.query('rate(x)')).rejects.toMatchObject({ code: 'INVALID_QUERY' });
  });

  async function clientUrl(): Promise<string> {
    const index = server.spawnargs.find((argument) => argument.startsWith('--web.listen-address='));
    return `http://${index?.split('=')[1]}`;
  }
});

/** Values to nine digits (summation order differs), series in one order. */
function comparable(data: unknown): unknown {
  const text = JSON.stringify(data, (key, value) => {
    if (key === 'value' || key === 'values')
      return JSON.stringify(value).replace(/"(-?[\d.]+)"/g, (_, n: string) => Number(n).toPrecision(9));
    if (value !== null && typeof value === 'object' && !Array.isArray(value))
      return Object.fromEntries(Object.entries(value).sort());
    return value;
  });
  const parsed = JSON.parse(text);
  if (Array.isArray(parsed.result) && parsed.resultType !== 'scalar')
    parsed.result.sort((a: unknown, b: unknown) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return parsed;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
