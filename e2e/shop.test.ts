// The whole platform as a user meets it: npm start, the shop in a browser, faults, bad input, Ctrl-C, again.

import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerResource, ServiceResource } from '@heptad/core';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { footprint } from './support/machine.ts';
import { testPlace, type TestPlace } from './support/platform.ts';
import { eventually, heptad, heptadJson, npmStart, type RunningPlatform } from './support/run.ts';

let place: TestPlace;
let platform: RunningPlatform;
let before: Record<string, string[]>;
let browser: Browser;

const shop = (path: string): string => `http://127.0.0.1:${place.shopPort}${path}`;

async function placeOrder(): Promise<string | undefined> {
  const answer = await fetch(shop('/api/orders'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ items: [{ productId: 'p-1', quantity: 1 }] }),
    signal: AbortSignal.timeout(5_000),
  });
  if (answer.status !== 201) return undefined;
  return ((await answer.json()) as { id: string }).id;
}

async function orderIds(): Promise<Set<string>> {
  const answer = await fetch(shop('/api/orders'), { signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`orders answered ${answer.status}`);
  return new Set(((await answer.json()) as { items: { id: string }[] }).items.map((order) => order.id));
}

const pidOf = (name: string): number => JSON.parse(readFileSync(join(place.home, 'run', `${name}.pid`), 'utf8')).pid;

beforeAll(async () => {
  place = await testPlace();
  before = footprint(place.home, place.bridge);
  platform = await npmStart(place);
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});

afterAll(async () => {
  await browser?.close();
  await platform?.interrupt().catch(() => {});
  await place?.[Symbol.asyncDispose]();
});

describe('a fresh start', () => {
  it('serves the shop and the console and tells where', async () => {
    expect((await fetch(shop('/'))).status).toBe(200);
    const console = await fetch(place.server);
    expect(console.status).toBe(200);
    expect(await console.text()).toContain('<div id="root"');
    expect(platform.output()).toContain(`http://127.0.0.1:${place.shopPort}`);
    expect(platform.password()).not.toBe('');
  });

  it('runs every replica in an isolated container', async () => {
    const containers = await heptadJson<ContainerResource[]>(place, ['ps']);
    expect(containers.length).toBeGreaterThanOrEqual(7);
    expect(new Set(containers.map((one) => one.status.isolation))).toEqual(new Set(['container']));
    expect(containers.every((one) => one.status.ready)).toBe(true);
    const result = await heptad(place, ['exec', 'web', '--', '/usr/bin/node', '-e', 'console.log(process.pid, require("node:os").hostname())']);
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^\d{1,4} web-/);
  });

  it('takes an order in a browser and shows it', async () => {
    const page = await browser.newPage();
    await page.goto(shop('/'));
    await page.locator('a[href^="/products/"]').first().click();
    await page.getByRole('button', { name: /order|buy/i }).first().click();
    await page.waitForURL(/\/orders/);
    await page.goto(shop('/orders'));
    expect(await page.locator('main').innerText()).toMatch(/placed|confirmed/i);
    await page.close();
  });

  it('lets the administrator in and shows the services in the console', async () => {
    const page = await browser.newPage();
    await page.goto(place.server);
    await page.getByLabel(/user/i).fill('admin');
    await page.getByLabel(/password/i).fill(platform.password());
    await page.getByRole('button', { name: /log in|sign in/i }).click();
    await page.getByText('catalog').first().waitFor();
    const text = await page.locator('body').innerText();
    for (const service of ['catalog', 'orders', 'web']) expect(text).toContain(service);
    await page.close();
  });

  it('refuses a wrong password without saying which part was wrong', async () => {
    const answer = await fetch(`${place.server}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: 'admin', password: 'wrong-wrong-wrong' }),
    });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
  });
});

describe('faults', () => {
  /** Orders placed while something is killed: those acknowledged must all be there afterwards. */
  async function ordersThrough(fault: () => Promise<void>): Promise<void> {
    const acknowledged: string[] = [];
    let stop = false;
    const client = (async () => {
      while (!stop) {
        const id = await placeOrder().catch(() => undefined);
        if (id !== undefined) acknowledged.push(id);
      }
    })();
    await eventually(async () => acknowledged.length, (count) => count >= 3);
    await fault();
    const after = acknowledged.length;
    await eventually(async () => acknowledged.length, (count) => count >= after + 5);
    stop = true;
    await client;
    const present = await eventually(orderIds, (ids) => ids.size >= acknowledged.length);
    expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
  }

  const killProcess = (name: string) => async (): Promise<void> => {
    const pid = pidOf(name);
    process.kill(pid, 'SIGKILL');
    await eventually(async () => pidOf(name), (now) => now !== pid);
  };

  it('loses no acknowledged order when the order master is killed, and elects another', async () => {
    const master = async (): Promise<string> => ((await (await fetch(shop('/api/master'))).json()) as { master: string }).master;
    const first = await eventually(master, (name) => typeof name === 'string' && name !== '');
    await ordersThrough(async () => {
      const { pid } = await heptadJson<{ pid: number }>(place, ['containers', first]);
      process.kill(pid, 'SIGKILL');
      await eventually(master, (name) => name !== first, 30_000);
    });
  });

  it('loses no acknowledged order when the proxy is killed', () => ordersThrough(killProcess('proxy')));
  it('loses no acknowledged order when the agent is killed', () => ordersThrough(killProcess('agent')));
  it('loses no acknowledged order when the server is killed', () => ordersThrough(killProcess('server')));
  it('loses no acknowledged order when a storage node is killed', () => ordersThrough(killProcess('storage-2')));
});

describe('operations', () => {
  it('rolls the web service without a failed request', async () => {
    const failures: string[] = [];
    let requests = 0;
    let stop = false;
    const client = (async () => {
      while (!stop) {
        const answer = await fetch(shop('/'), { signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => String(error));
        requests += 1;
        if (typeof answer === 'string') failures.push(answer);
        else {
          await answer.arrayBuffer();
          if (!answer.ok) failures.push(String(answer.status));
        }
      }
    })();
    const { items } = (await (await fetch(`${place.server}/api/v1/services`, { headers: await authorization() })).json()) as { items: ServiceResource[] };
    const web = items.find((service) => service.name === 'web');
    if (web === undefined) throw new Error('no web service');
    const changed = await fetch(`${place.server}/api/v1/services/web`, {
      method: 'PUT',
      headers: { ...(await authorization()), 'content-type': 'application/json' },
      body: JSON.stringify({ labels: web.labels, spec: { ...web.spec, version: '2', environment: { ...web.spec.environment, SHOP_BANNER: 'new' } } }),
    });
    expect(changed.status).toBe(200);
    expect((await heptad(place, ['wait', 'web', '--for', 'ready', '--timeout', '90s'])).code).toBe(0);
    stop = true;
    await client;
    expect(requests).toBeGreaterThan(20);
    expect(failures).toEqual([]);
  });

  it('scales up and down', async () => {
    expect((await heptad(place, ['scale', 'catalog=3'])).code).toBe(0);
    expect((await heptad(place, ['wait', 'catalog', '--for', 'ready'])).code).toBe(0);
    await eventually(() => heptadJson<ContainerResource[]>(place, ['ps', 'catalog']), (all) => all.filter((one) => one.status.ready).length === 3);
    expect((await heptad(place, ['scale', 'catalog=2'])).code).toBe(0);
    await eventually(() => heptadJson<ContainerResource[]>(place, ['ps', 'catalog']), (all) => all.length === 2);
  });

  it('adjusts replicas and the CPU limit that the kernel enforces', async () => {
    const result = await heptadJson<{ after: { cpuMillis: number; replicas: number } }[]>(place, ['quota', 'adjust', 'conservative', '--service', 'catalog']);
    const [adjustment] = result;
    if (adjustment === undefined) throw new Error('nothing was adjusted');
    const quota = await eventually(
      () => heptad(place, ['exec', 'catalog', '--', '/usr/bin/node', '-e', 'const fs=require("fs");const f=["/sys/fs/cgroup/cpu/cpu.cfs_quota_us","/sys/fs/cgroup/cpu.max"].find((p)=>fs.existsSync(p));console.log(fs.readFileSync(f,"utf8").split(" ")[0].trim())']),
      (answer) => Number(answer.stdout) === adjustment.after.cpuMillis * 100,
    );
    expect(Number(quota.stdout)).toBe(adjustment.after.cpuMillis * 100);
  });

  it('keeps metrics, logs and traces of the shop and joins them', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    await fetch(shop('/'), { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    const trace = await eventually(
      () => heptadJson<{ spans: { service: string }[] }>(place, ['monitor', 'trace', traceId]),
      (answer) => answer.spans.length > 0,
      30_000,
    );
    expect(trace.spans.some((span) => span.service === 'heptad-proxy')).toBe(true);
    const series = await eventually(() => heptad(place, ['monitor', 'query', 'sum by (server_address) (rate(http_server_request_duration_seconds_count[1m]))']), (answer) => answer.stdout.includes('web'), 30_000);
    expect(series.code).toBe(0);
  });

  it('proves the audit log intact', async () => {
    const result = await heptad(place, ['security', 'audit', 'verify']);
    expect(result.stdout).toContain('intact');
    expect(result.code).toBe(0);
  });
});

describe('bad input', () => {
  async function applied(text: string): Promise<{ code: number; stderr: string }> {
    const file = join(place.home, 'bad.yaml');
    await writeFile(file, text);
    return heptad(place, ['apply', '-f', file]);
  }

  it('names line and column of broken YAML', async () => {
    const result = await applied('services:\n  web:\n    image: "unclosed\n');
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/3:\d+|line 3/);
  });

  it('names an unknown key', async () => {
    const result = await applied('services:\n  web:\n    image: a\n    privilegd: true\n');
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('privilegd');
  });

  it('explains why an impossible service is pending', async () => {
    const result = await applied('services:\n  huge:\n    image: web\n    deploy: { resources: { reservations: { cpus: "900" } } }\n');
    expect(result.code).toBe(0);
    const explained = await eventually(
      async () => (await (await fetch(`${place.server}/api/v1/services/huge/explain`, { headers: await authorization() })).json()) as { sentences: string[] },
      (answer) => answer.sentences.join(' ').includes('node-1'),
    );
    expect(explained.sentences.join(' ')).toMatch(/cpu/i);
    expect((await heptad(place, ['delete', 'huge'])).code).toBe(0);
  });

  it('says which image is missing', async () => {
    await applied('services:\n  ghost:\n    image: no-such-image\n');
    const [container] = await eventually(() => heptadJson<ContainerResource[]>(place, ['ps', 'ghost']), (all) => all[0]?.status.message.includes('no-such-image') === true);
    expect(container?.status.ready).toBe(false);
    expect((await heptad(place, ['delete', 'ghost'])).code).toBe(0);
  });

  it('refuses a port that another service publishes', async () => {
    const result = await applied(`services:\n  second:\n    image: web\n    ports: ["${place.shopPort}:8080"]\n`);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(String(place.shopPort));
  });

  it('refuses a wrong token with a hint', async () => {
    const result = await heptad(place, ['--token', 'hpt_wrong', 'ps']);
    expect(result.code).toBe(4);
    expect(result.stderr).toContain('hint');
  });

  it('answers 3 for a service that does not exist', async () => {
    expect((await heptad(place, ['ps', 'nobody'])).code).toBe(3);
  });
});

describe('Ctrl-C', () => {
  it('leaves nothing of ours on the machine, and a second start finds the orders again', async () => {
    const orders = await orderIds();
    expect(orders.size).toBeGreaterThan(0);
    expect(await platform.interrupt()).toBe(0);
    expect(footprint(place.home, place.bridge)).toEqual(before);
    platform = await npmStart(place);
    const again = await eventually(orderIds, (ids) => ids.size >= orders.size);
    expect([...orders].filter((id) => !again.has(id))).toEqual([]);
  });
});

async function authorization(): Promise<Record<string, string>> {
  return { authorization: `Bearer ${readFileSync(join(place.home, 'run', 'admin.token'), 'utf8').trim()}` };
}
