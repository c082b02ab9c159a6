// Telemetry of two services goes in over OTLP and comes out joined: a query, an alert, a trace with its logs.

import { MonitoringServer, MonitoringStack } from '@heptad/monitoring';

await using stack = new MonitoringStack({
  alerts: {
    intervalMs: 0,
    rules: [{ name: 'Errors', expression: 'rate(orders_failed_total[1m]) > 0', severity: 'critical' }],
  },
});
await using server = await MonitoringServer.listen(stack, { port: 0 });

const now = Date.now();
const nanos = (ms: number): string => `${Math.round(ms)}000000`;
const resource = (service: string) => ({
  attributes: [{ key: 'service.name', value: { stringValue: service } }],
});
const send = async (signal: string, body: unknown): Promise<void> => {
  const answer = await fetch(`${server.url}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${signal}: ${answer.status} ${await answer.text()}`);
};

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const span = (spanId: string, parentSpanId: string, name: string, kind: number, code: number) => ({
  traceId,
  spanId,
  parentSpanId,
  name,
  kind,
  startTimeUnixNano: nanos(now - 40),
  endTimeUnixNano: nanos(now),
  status: { code },
});
await send('traces', {
  resourceSpans: [
    { resource: resource('web'), scopeSpans: [{ spans: [span('00f067aa0ba902b7', '', 'POST /buy', 2, 2)] }] },
    {
      resource: resource('orders'),
      scopeSpans: [{ spans: [span('b7ad6b7169203331', '00f067aa0ba902b7', 'place', 2, 2)] }],
    },
  ],
});
const record = {
  timeUnixNano: nanos(now),
  severityNumber: 17,
  body: { stringValue: 'card expired' },
  traceId,
};
await send('logs', {
  resourceLogs: [{ resource: resource('orders'), scopeLogs: [{ logRecords: [record] }] }],
});
await stack.append('orders_failed_total', { service: 'orders' }, 0, now - 30_000);
await stack.append('orders_failed_total', { service: 'orders' }, 3, now);

console.log(JSON.stringify((await stack.query('increase(orders_failed_total[1m])', now)).result));
await stack.alerts.evaluate();
for (const alert of stack.alerts.alerts()) console.log(alert.rule, alert.state, alert.labels);
for (const log of stack.searchLogs({ search: 'level:error expired' }))
  console.log(log.service, log.body, log.traceId);

const { trace, logs, metrics } = stack.correlate(traceId);
console.log(trace.services, trace.roots[0]?.children[0]?.name, logs.length, metrics.orders?.[0]?.name);
