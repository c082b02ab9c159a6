// The whole platform as a user meets it: npm start, the shop in a browser, faults, bad input, Ctrl-C, again.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerResource, ServiceResource } from '@heptad/core';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { footprint } from './support/machine.ts';
import { type TestPlace, testPlace } from './support/platform.ts';
import { eventually, heptad, heptadJson, npmStart, type RunningPlatform } from './support/run.ts';

let place: TestPlace;
let platform: RunningPlatform;
let before: Record<string, string[]>;
let browser: Browser;

const shop = (path: string): string => `http://127.0.0.1:${place.shopPort}${path}`;

/** Places an order as the shop's own form does; answers its id, or undefined when the shop did not say yes. */
async function placeOrder(): Promise<string | undefined> {
  const answer = await fetch(shop('/orders'), {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-www-form-urlencoded', cookie: `cart=${PRODUCT}:1` },
    body: new URLSearchParams({ orderKey: randomBytes(16).toString('hex'), customer: 'e2e' }),
    signal: AbortSignal.timeout(10_000),
  });
  await answer.arrayBuffer();
  if (answer.status !== 303) return undefined;
  return /^\/orders\/([^?]+)/.exec(answer.headers.get('location') ?? '')?.[1];
}

/** Those of the orders that the shop does not show. */
async function missing(ids: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    ids.map(async (id) => {
      const answer = await fetch(shop(`/orders/${id}`), { signal: AbortSignal.timeout(10_000) });
      await answer.arrayBuffer();
      return answer.status === 200;
    }),
  );
  return ids.filter((_, index) => !found[index]);
}

async function callService<T>(
  service: string,
  path: string,
  init: { method?: string; body?: string } = {},
): Promise<T> {
  const answer = await fetch(`${place.server}/api/v1/mesh/call`, {
    method: 'POST',
    headers: { ...authorization(), 'content-type': 'application/json' },
    body: JSON.stringify({ service, path, headers: { 'content-type': 'application/json' }, ...init }),
  });
  const { status, body } = (await answer.json()) as { status: number; body: string };
  if (status >= 400) throw new Error(`${service}${path} answered ${status}: ${body}`);
  return JSON.parse(body) as T;
}

const master = (): Promise<{ master: string | null; token: number | null }> =>
  callService('orders', '/master');

/** What the load buys: there is enough of it. */
const PRODUCT = 'endless-thing';
const acknowledged: string[] = [];

const pidOf = (name: string): number =>
  JSON.parse(readFileSync(join(place.home, 'run', `${name}.pid`), 'utf8')).pid;

beforeAll(async () => {
  place = await testPlace();
  before = footprint(place.home, place.bridge);
  platform = await npmStart(place);
  await eventually(
    () =>
      callService('catalog', '/products', {
        method: 'POST',
        body: JSON.stringify({
          id: PRODUCT,
          name: 'Endless thing',
          description: 'For tests',
          priceCents: 100,
          stock: 1_000_000,
        }),
      }),
    () => true,
  );
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
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
    const result = await heptad(place, [
      'exec',
      'web',
      '--',
      'node',
      '-e',
      'console.log(process.pid, require("node:os").hostname())',
    ]);
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^\d{1,4} web-/);
  });

  it('takes an order in a browser and shows it', async () => {
    const page = await browser.newPage();
    await page.goto(shop('/'));
    await page.getByRole('button', { name: 'Add Coffee beans to cart' }).click();
    await page.waitForURL(/\/cart/);
    await page.getByLabel('Your name').fill('Ada');
    await page.getByRole('button', { name: 'Place order' }).click();
    await page.waitForURL(/\/orders\/[^/]+/);
    const id = /\/orders\/([^?]+)/.exec(page.url())?.[1] ?? '';
    await page.goto(shop('/orders'));
    expect(await page.locator('main').textContent()).toContain(id);
    expect(await page.locator('main').textContent()).toMatch(/placed|confirmed/i);
    acknowledged.push(id);
    await page.close();
  });

  it('lets the administrator in and shows the services in the console', async () => {
    const page = await browser.newPage();
    await page.goto(place.server);
    await page.getByLabel(/user/i).fill('admin');
    await page.getByLabel(/password/i).fill(platform.password());
    await page.getByRole('button', { name: /log in|sign in/i }).click();
    await page.getByText('catalog').first().waitFor();
    const text = await page.locator('body').textContent();
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
  /** Orders placed while something is killed: those acknowledged must all be there afterwards, and more must come. */
  async function ordersThrough(fault: () => Promise<void>): Promise<void> {
    let stop = false;
    const before = acknowledged.length;
    const client = (async () => {
      while (!stop) {
        const id = await placeOrder().catch(() => undefined);
        if (id !== undefined) acknowledged.push(id);
      }
    })();
    try {
      await eventually(
        async () => acknowledged.length - before,
        (count) => count >= 5,
      );
      await fault();
      const after = acknowledged.length;
      await eventually(
        async () => acknowledged.length - after,
        (count) => count >= 5,
      );
    } finally {
      stop = true;
      await client;
    }
    const mine = acknowledged.slice(before);
    expect(
      await eventually(
        () => missing(mine),
        (ids) => ids.length === 0,
        20_000,
      ),
    ).toEqual([]);
  }

  const killProcess = (name: string) => async (): Promise<void> => {
    const pid = pidOf(name);
    process.kill(pid, 'SIGKILL');
    await eventually(
      async () => pidOf(name),
      (now) => now !== pid,
    );
  };

  it('loses no acknowledged order when the order master is killed, and elects another', async () => {
    const first = await eventually(master, ({ master: name }) => name !== null);
    await ordersThrough(async () => {
      const { pid } = await heptadJson<{ pid: number }>(place, ['containers', first.master ?? '']);
      process.kill(pid, 'SIGKILL');
      // It may be the same container again, started anew: what counts is that there was another election.
      await eventually(master, ({ token }) => (token ?? 0) > (first.token ?? 0), 30_000);
    });
  });

  it('loses no acknowledged order when the proxy is killed', () => ordersThrough(killProcess('proxy')));
  it('loses no acknowledged order when the agent is killed', () => ordersThrough(killProcess('agent')));
  it('loses no acknowledged order when the server is killed, and has a server again', async () => {
    await ordersThrough(killProcess('server'));
    // Orders do without a server; what comes next does not.
    const ready = () =>
      fetch(`${place.server}/readyz`).then(
        ({ status }) => status,
        () => undefined,
      );
    expect(await eventually(ready, (status) => status === 200, 30_000)).toBe(200);
  });
  it('loses no acknowledged order when a storage node is killed', () =>
    ordersThrough(killProcess('storage-2')));
});

describe('operations', () => {
  it('rolls the web service without a failed request', async () => {
    const failures: string[] = [];
    let requests = 0;
    let stop = false;
    const client = (async () => {
      while (!stop) {
        const answer = await fetch(shop('/'), { signal: AbortSignal.timeout(10_000) }).catch(
          (error: unknown) => String(error),
        );
        requests += 1;
        if (typeof answer === 'string') failures.push(answer);
        else {
          await answer.arrayBuffer();
          if (!answer.ok) failures.push(String(answer.status));
        }
      }
    })();
    const { items } = (await (
      await fetch(`${place.server}/api/v1/services`, { headers: authorization() })
    ).json()) as { items: ServiceResource[] };
    const web = items.find((service) => service.name === 'web');
    if (web === undefined) throw new Error('no web service');
    const changed = await fetch(`${place.server}/api/v1/services/web`, {
      method: 'PUT',
      headers: { ...authorization(), 'content-type': 'application/json' },
      body: JSON.stringify({
        labels: web.labels,
        spec: { ...web.spec, version: '2', environment: { ...web.spec.environment, SHOP_BANNER: 'new' } },
      }),
    });
    expect(changed.status).toBe(200);
    expect((await heptad(place, ['wait', 'web', '--for', 'ready', '--timeout', '90s'])).code).toBe(0);
    stop = true;
    await client;
    // On a busy machine a request may take a second: what counts is that they came before, while and after.
    expect(requests).toBeGreaterThan(5);
    expect(failures).toEqual([]);
  });

  it('scales up and down', async () => {
    expect((await heptad(place, ['scale', 'catalog=3'])).code).toBe(0);
    expect((await heptad(place, ['wait', 'catalog', '--for', 'ready'])).code).toBe(0);
    await eventually(
      () => heptadJson<ContainerResource[]>(place, ['ps', 'catalog']),
      (all) => all.filter((one) => one.status.ready).length === 3,
    );
    expect((await heptad(place, ['scale', 'catalog=2'])).code).toBe(0);
    await eventually(
      () => heptadJson<ContainerResource[]>(place, ['ps', 'catalog']),
      (all) => all.length === 2,
    );
  });

  it('adjusts replicas and the CPU limit that the kernel enforces', async () => {
    const result = await heptadJson<{ after: { cpuMillis: number; replicas: number } }[]>(place, [
      'quota',
      'adjust',
      'conservative',
      '--service',
      'catalog',
    ]);
    const [adjustment] = result;
    if (adjustment === undefined) throw new Error('nothing was adjusted');
    const quota = await eventually(
      () =>
        heptad(place, [
          'exec',
          'catalog',
          '--',
          'node',
          '-e',
          'const fs=require("fs");const f=["/sys/fs/cgroup/cpu/cpu.cfs_quota_us","/sys/fs/cgroup/cpu.max"].find((p)=>fs.existsSync(p));console.log(fs.readFileSync(f,"utf8").split(" ")[0].trim())',
        ]),
      (answer) => Number(answer.stdout) === adjustment.after.cpuMillis * 100,
    );
    expect(Number(quota.stdout)).toBe(adjustment.after.cpuMillis * 100);
  });

  it('keeps metrics, logs and traces of the shop and joins them', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    await fetch(shop('/'), { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    const trace = await eventually(
      () => heptadJson<{ trace: { services: string[] } }>(place, ['monitor', 'trace', traceId]),
      (answer) => answer.trace.services.includes('heptad-proxy'),
      30_000,
    );
    expect(trace.trace.services).toContain('heptad-proxy');
    const series = await eventually(
      () =>
        heptad(place, [
          'monitor',
          'query',
          'sum by (server_address) (rate(http_server_request_duration_seconds_count[1m]))',
        ]),
      (answer) => answer.stdout.includes('web'),
      30_000,
    );
    expect(series.code).toBe(0);
  });

  it('proves the audit log intact', async () => {
    const result = await heptad(place, ['security', 'audit', 'verify']);
    expect(result.stdout).toContain('intact');
    expect(result.code).toBe(0);
  });
});

describe('chaos', () => {
  it('kills a replica and delays another service, proves both faults, takes them back, and writes a report', async () => {
    const file = join(place.home, 'experiment.yaml');
    await writeFile(
      file,
      `experiment:
  name: the shop stands a dead replica and a slow catalogue
  scenarios:
    - type: pod-failure
      target: orders
      params: { count: 1, recovery: 60s }
    - type: network-latency
      target: catalog
      params: { latency: 100ms, duration: 4s }
  metrics:
    - { name: errors, source: "probe:error-rate", threshold: "< 20%" }
`,
    );
    const result = await heptad(place, ['--json', 'chaos', 'run', file]);
    const state = JSON.parse(result.stdout) as { id: string; verdict: string; message: string };
    expect(state.message + state.verdict).toMatch(/passed$/);
    const report = await heptadJson<{ scenarios: { proof: { proven: boolean } }[] }>(place, [
      'chaos',
      'report',
      state.id,
    ]);
    expect(report.scenarios.map((scenario) => scenario.proof.proven)).toEqual([true, true]);
    const html = join(place.home, 'report.html');
    expect((await heptad(place, ['chaos', 'report', state.id, '--html', html])).code).toBe(0);
    expect(readFileSync(html, 'utf8')).toContain('<svg');
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
    expect(result.stderr).toMatch(/bad\.yaml:\d+:\d+/);
  });

  it('names an unknown key', async () => {
    const result = await applied('services:\n  web:\n    image: a\n    privilegd: true\n');
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('privilegd');
  });

  it('explains why an impossible service is pending', async () => {
    const result = await applied(
      'services:\n  huge:\n    image: web\n    deploy: { resources: { reservations: { cpus: "900" } } }\n',
    );
    expect(result.code).toBe(0);
    const explained = await eventually(
      async () =>
        (await (
          await fetch(`${place.server}/api/v1/services/huge/explain`, { headers: authorization() })
        ).json()) as { sentences: string[] },
      (answer) => answer.sentences.join(' ').includes('node-1'),
    );
    expect(explained.sentences.join(' ')).toMatch(/cpu/i);
    expect((await heptad(place, ['delete', 'huge'])).code).toBe(0);
  });

  it('says which image is missing', async () => {
    await applied('services:\n  ghost:\n    image: no-such-image\n');
    const [container] = await eventually(
      () => heptadJson<ContainerResource[]>(place, ['ps', 'ghost']),
      (all) => all[0]?.status.message.includes('no-such-image') === true,
    );
    expect(container?.status.ready).toBe(false);
    expect((await heptad(place, ['delete', 'ghost'])).code).toBe(0);
  });

  it('refuses a port that another service publishes', async () => {
    const result = await applied(
      `services:\n  second:\n    image: web\n    ports: ["${place.shopPort}:8080"]\n`,
    );
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
    expect(acknowledged.length).toBeGreaterThan(0);
    const ids = (await heptadJson<ContainerResource[]>(place, ['ps'])).flatMap(
      (one) => one.status.runtimeId ?? [],
    );
    await platform.interrupt();
    expect(platform.output()).toContain('nothing of ours is left running');
    // What was still draining connections of the containers sees within a moment that they are gone.
    await eventually(
      async () => footprint(place.home, place.bridge, ids).processes,
      (left) => left?.length === 0,
      2_000,
    );
    expect(footprint(place.home, place.bridge, ids)).toEqual(before);
    platform = await npmStart(place);
    expect(
      await eventually(
        () => missing(acknowledged),
        (ids) => ids.length === 0,
      ),
    ).toEqual([]);
  });
});

function authorization(): Record<string, string> {
  return { authorization: `Bearer ${readFileSync(join(place.home, 'run', 'admin.token'), 'utf8').trim()}` };
}
