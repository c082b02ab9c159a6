// Alerts to a real HTTP receiver: retries, order, and notifications that outlive the process.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AlertManager, type DeliveryReport, MetricStore, QueryEngine } from '../src/index.ts';

interface Received {
  status: string;
  alerts: { labels: Record<string, string>; annotations: { summary: string }; fingerprint: string }[];
}

let receiver: Server;
let url: string;
let received: Received[];
let answers: number[];
let directory: string;

beforeEach(async () => {
  received = [];
  answers = [];
  directory = mkdtempSync(join(tmpdir(), 'heptad-alerts-'));
  receiver = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const status = answers.shift() ?? 200;
    if (status === 200) received.push(JSON.parse(text));
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const address = receiver.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/hook`;
});
afterEach(async () => {
  receiver.closeAllConnections();
  await new Promise((resolve) => receiver.close(resolve));
  rmSync(directory, { recursive: true, force: true });
});

const rule = {
  name: 'OrdersDown',
  expression: 'up{service="orders"} == 0',
  severity: 'critical' as const,
  summary: '{{ $labels.service }} is down',
};
const delivery = { backoffMs: 5, maxBackoffMs: 20, timeoutMs: 2000 };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('AlertManager', () => {
  it('tells a receiver that fails at first, in order, and archives what is over', async () => {
    const reports: DeliveryReport[] = [];
    answers = [500, 503, 429];
    await using store = new MetricStore();
    await using alerts = new AlertManager({
      source: new QueryEngine(store),
      rules: [rule],
      webhook: url,
      intervalMs: 0,
      delivery,
      onDelivery: (report) => reports.push(report),
    });
    const at = Date.now();
    await store.append([{ labels: { __name__: 'up', service: 'orders' }, at: at - 10, value: 0 }]);
    await alerts.evaluate();
    const [firing] = alerts.alerts();
    expect(firing).toMatchObject({
      state: 'firing',
      labels: { service: 'orders', alertname: 'OrdersDown', severity: 'critical' },
    });
    expect(alerts.acknowledge(firing?.fingerprint ?? '', 'ada').acknowledgedBy).toBe('ada');
    await store.append([{ labels: { __name__: 'up', service: 'orders' }, at: Date.now(), value: 1 }]);
    await alerts.evaluate();
    await until(() => reports.length === 5);
    expect(received.map((message) => message.status)).toEqual(['firing', 'resolved']);
    expect(received[0]?.alerts[0]).toMatchObject({
      annotations: { summary: 'orders is down' },
      fingerprint: firing?.fingerprint,
    });
    expect(reports.map((report) => report.outcome)).toEqual([
      'retrying',
      'retrying',
      'retrying',
      'delivered',
      'delivered',
    ]);
    expect(alerts.alerts()).toEqual([]);
    expect(alerts.history({ rule: 'OrdersDown' })).toMatchObject([
      { state: 'resolved', acknowledgedBy: 'ada' },
    ]);
  });

  it('delivers after a restart what it could not deliver before', async () => {
    const closed = new URL(url);
    await using store = new MetricStore();
    await store.append([{ labels: { __name__: 'up', service: 'orders' }, at: Date.now(), value: 0 }]);
    const options = {
      source: new QueryEngine(store),
      rules: [rule],
      webhook: url,
      intervalMs: 0,
      delivery,
      directory,
    };
    receiver.closeAllConnections();
    await new Promise((resolve) => receiver.close(resolve));
    const failed: DeliveryReport[] = [];
    {
      await using alerts = new AlertManager({ ...options, onDelivery: (report) => failed.push(report) });
      await alerts.evaluate();
      await until(() => failed.length > 0);
    }
    expect(failed[0]).toMatchObject({ outcome: 'retrying', error: expect.stringContaining('ECONNREFUSED') });
    await new Promise<void>((resolve) => receiver.listen(Number(closed.port), '127.0.0.1', resolve));
    await using alerts = new AlertManager(options);
    await until(() => received.length === 1);
    expect(received[0]?.status).toBe('firing');
    expect(alerts.alerts()).toMatchObject([{ state: 'firing' }]);
  });

  it('gives up at once when the receiver says that the request is wrong', async () => {
    const reports: DeliveryReport[] = [];
    answers = [404];
    await using store = new MetricStore();
    await store.append([{ labels: { __name__: 'up', service: 'orders' }, at: Date.now(), value: 0 }]);
    await using alerts = new AlertManager({
      source: new QueryEngine(store),
      rules: [rule],
      webhook: url,
      intervalMs: 0,
      delivery,
      onDelivery: (report) => reports.push(report),
    });
    await alerts.evaluate();
    await until(() => reports.length > 0);
    expect(reports).toMatchObject([{ outcome: 'given-up', error: 'it answered 404' }]);
  });

  it('keeps alerts as they are while their expression cannot be evaluated', async () => {
    let fails = false;
    await using alerts = new AlertManager({
      source: {
        vector: async () => {
          if (fails) throw new Error('the store is gone');
          return [{ labels: { service: 'orders' }, value: 1 }];
        },
      },
      rules: [rule],
      intervalMs: 0,
    });
    await alerts.evaluate();
    fails = true;
    await alerts.evaluate();
    expect(alerts.alerts()).toMatchObject([{ state: 'firing' }]);
    expect(alerts.rules()).toMatchObject([{ state: 'firing', error: 'the store is gone' }]);
  });

  it('refuses a rule whose expression does not parse', async () => {
    await using store = new MetricStore();
    const bad = { name: 'Bad', expression: 'rate(up)' };
    expect(() => new AlertManager({ source: new QueryEngine(store), rules: [bad], intervalMs: 0 })).toThrow(
      /range vector/,
    );
  });
});
