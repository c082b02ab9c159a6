// OTLP from the real OpenTelemetry exporters over HTTP, in protobuf and JSON.

import { gzipSync } from 'node:zlib';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import {
  AggregationTemporality,
  AggregationType,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MonitoringServer, MonitoringStack } from '../src/index.ts';

/** SEVERITY_NUMBER_ERROR. */
const SEVERITY_ERROR = 17;

let stack: MonitoringStack;
let server: MonitoringServer;
const resource = resourceFromAttributes({
  'service.name': 'orders',
  'service.instance.id': 'orders-1',
  'process.pid': 4242,
});

beforeEach(async () => {
  stack = new MonitoringStack();
  server = await MonitoringServer.listen(stack, { port: 0 });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
});

async function valueIn(expression: string): Promise<number | undefined> {
  const [element] = await stack.engine.vector(expression);
  return element?.value;
}

async function exportMetrics(temporality: AggregationTemporality, rounds: number): Promise<void> {
  const exporter = new OTLPMetricExporter({
    url: `${server.url}/v1/metrics`,
    temporalityPreference: temporality as never,
  });
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
  const provider = new MeterProvider({
    resource,
    readers: [reader],
    views: [{ instrumentName: 'payload', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
  });
  const meter = provider.getMeter('test');
  const orders = meter.createCounter('orders.placed', { description: 'Orders.', unit: '{order}' });
  const duration = meter.createHistogram('http.server.request.duration', {
    unit: 's',
    advice: { explicitBucketBoundaries: [0.1, 1] },
  });
  const payload = meter.createHistogram('payload', { unit: 'By' });
  const open = meter.createUpDownCounter('connections.open');
  for (let round = 0; round < rounds; round++) {
    orders.add(5, { method: 'card' });
    for (const seconds of [0.05, 0.5, 5]) duration.record(seconds, { 'http.response.status_code': 200 });
    for (const bytes of [100, 1000, 10_000]) payload.record(bytes);
    open.add(round === 0 ? 7 : 0);
    await reader.forceFlush();
  }
  await provider.shutdown();
}

describe('metrics from the OpenTelemetry SDK', () => {
  it.each([
    ['cumulative', AggregationTemporality.CUMULATIVE],
    ['delta', AggregationTemporality.DELTA],
  ])('%s points end in the same totals', async (_name, temporality) => {
    await exportMetrics(temporality, 3);
    expect(await valueIn('orders_placed_total{service="orders", instance="orders-1", method="card"}')).toBe(
      15,
    );
    expect(await valueIn('connections_open')).toBe(7);
    expect(await valueIn('http_server_request_duration_seconds_count{http_response_status_code="200"}')).toBe(
      9,
    );
    expect(await valueIn('http_server_request_duration_seconds_sum')).toBeCloseTo(16.65, 9);
    expect(await valueIn('http_server_request_duration_seconds_bucket{le="0.1"}')).toBe(3);
    expect(await valueIn('http_server_request_duration_seconds_bucket{le="1"}')).toBe(6);
    expect(await valueIn('http_server_request_duration_seconds_bucket{le="+Inf"}')).toBe(9);
    // An exponential histogram's median, within the width of our buckets (19%).
    const median = await valueIn('histogram_quantile(0.5, payload_bytes_bucket)');
    expect(median).toBeGreaterThan(1000 / 1.2);
    expect(median).toBeLessThan(1000 * 1.2);
    expect(await valueIn('target_info{process_pid="4242"}')).toBe(1);
    expect(stack.prometheusText()).toContain('# TYPE orders_placed_total counter');
  });
});

describe('traces and logs', () => {
  it.each([
    ['protobuf', OTLPTraceExporter],
    ['json', JsonTraceExporter],
  ])('a trace in %s comes back as a tree, with its logs and metrics', async (_name, Exporter) => {
    const tracing = new BasicTracerProvider({
      resource,
      spanProcessors: [new SimpleSpanProcessor(new Exporter({ url: `${server.url}/v1/traces` }) as never)],
    });
    const logging = new LoggerProvider({
      resource,
      processors: [
        new SimpleLogRecordProcessor({
          exporter: new OTLPLogExporter({ url: `${server.url}/v1/logs` }) as never,
        }),
      ] as never,
    });
    const tracer = tracing.getTracer('test');
    const root = tracer.startSpan('POST /orders', {
      kind: SpanKind.SERVER,
      attributes: { 'http.route': '/orders', retries: 2 },
    });
    const { trace, context } = await import('@opentelemetry/api');
    const inRoot = trace.setSpan(context.active(), root);
    const child = tracer.startSpan('INSERT orders', { kind: SpanKind.CLIENT }, inRoot);
    child.addEvent('retry', { attempt: 1 });
    child.setStatus({ code: SpanStatusCode.ERROR, message: 'deadlock' });
    child.end();
    logging.getLogger('test').emit({
      severityNumber: SEVERITY_ERROR,
      body: 'order failed: deadlock',
      attributes: { 'order.id': 17 },
      context: inRoot,
    });
    root.end();
    await tracing.forceFlush();
    // Its forceFlush does not wait for exports under way.
    while (stack.logs.count() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await stack.append('orders_failed_total', { service: 'orders' }, 1);

    const { traceId, spanId } = root.spanContext();
    const found = stack.correlate(traceId);
    expect(found.trace.roots).toHaveLength(1);
    expect(found.trace.roots[0]).toMatchObject({
      spanId,
      name: 'POST /orders',
      kind: 'server',
      service: 'orders',
      attributes: { 'http.route': '/orders', retries: 2 },
      children: [
        {
          name: 'INSERT orders',
          kind: 'client',
          status: 'error',
          statusMessage: 'deadlock',
          events: [{ name: 'retry' }],
        },
      ],
    });
    expect(found.logs).toMatchObject([
      { level: 'error', body: 'order failed: deadlock', spanId, attributes: { 'order.id': 17 } },
    ]);
    expect(found.metrics.orders?.map((metric) => metric.name)).toEqual(['orders_failed_total']);
    expect(stack.searchLogs({ search: `trace:${traceId} deadlock` })).toHaveLength(1);
    expect(stack.searchTraces({ service: 'orders', errorsOnly: true })).toMatchObject([
      { traceId, rootName: 'POST /orders', errorCount: 1 },
    ]);
    await tracing.shutdown();
    await logging.shutdown();
  });
});

describe('what is refused', () => {
  const post = (body: string | Uint8Array, headers: Record<string, string>): Promise<Response> =>
    fetch(`${server.url}/v1/metrics`, { method: 'POST', body: body as never, headers });

  it('says which points were dropped and why, in the encoding of the request', async () => {
    const point = (timeUnixNano: string) => ({ timeUnixNano, asDouble: 1 });
    const points = [point(`${Date.now()}000000`), point('1000000')];
    const body = JSON.stringify({
      resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: 'x', gauge: { dataPoints: points } }] }] }],
    });
    const answer = await post(body, { 'content-type': 'application/json' });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      partialSuccess: { rejectedDataPoints: '1', errorMessage: expect.stringContaining('retention') },
    });
  });

  it('answers 413 to a body that is too large, even when it is small on the wire', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(100_000);
    const answer = await post(bomb, { 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip' });
    expect(answer.status).toBe(413);
  });

  it.each([
    ['not protobuf', 'application/x-protobuf', 400],
    ['{', 'application/json', 400],
    ['{"resourceMetrics": 5}', 'application/json', 400],
    ['x', 'text/plain', 415],
  ])('answers %s as %s with %i', async (body, type, status) => {
    expect((await post(body, { 'content-type': type })).status).toBe(status);
  });
});
