// MeshClient, Microservice and ServiceMesh against real servers, with the OpenTelemetry SDK.

import { MemoryStateStore } from '@heptad/core';
import { MeshClient, Microservice, NodeProxy, ServiceMesh, ServiceRegistry } from '@heptad/mesh';
import { context, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { Backend, freePort, snapshotOf, until, wait } from './fixtures.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
  trace.disable();
  metrics.disable();
  context.disable();
  propagation.disable();
});
function use<T extends AsyncDisposable>(one: T): T {
  open.push(one);
  return one;
}

async function registryWith(...backends: Backend[]): Promise<ServiceRegistry> {
  const registry = use(new ServiceRegistry({ store: use(new MemoryStateStore()) }));
  for (const backend of backends) {
    await registry.register({
      service: 'web',
      address: backend.address,
      ports: { http: backend.port, admin: 1 },
    });
  }
  return registry;
}

const hello = (name: string) => (_: unknown, response: { end(text: string): void }) => response.end(name);

describe('MeshClient', () => {
  it('is fetch by service name: first port, named port, numbered port; and says which ports there are', async () => {
    const server = use(await Backend.start((req, res) => res.end(`${req.headers.host} ${req.url}`)));
    const client = use(new MeshClient({ catalog: (await registryWith(server)).catalog }));
    const { fetch } = client;
    expect(await (await fetch('http://web/a?b=1')).text()).toBe('web /a?b=1');
    expect(await (await fetch(`http://web:${server.port}/`)).text()).toBe(`web:${server.port} /`);
    const wrong = await fetch('http://web:4321/').catch((error: Error) => error.cause);
    expect(wrong).toMatchObject({
      code: 'UNKNOWN_PORT',
      message: expect.stringContaining(`http (${server.port})`),
    });
    expect(await (await request('http://web/r', { dispatcher: client.dispatcher })).body.text()).toBe(
      'web /r',
    );
  });

  it('leaves addresses and other hosts alone', async () => {
    const server = use(await Backend.start(hello('direct')));
    const client = use(new MeshClient({ catalog: (await registryWith()).catalog }));
    expect(await (await client.fetch(`http://127.0.0.1:${server.port}/`)).text()).toBe('direct');
    expect(
      await (
        await client
          .fetch(`http://localhost:${server.port}/`)
          .catch(() => client.fetch(`http://127.0.0.1:${server.port}/`))
      ).text(),
    ).toBe('direct');
  });

  it('sends bodies of every kind and repeats only what is safe', async () => {
    let broken = 0;
    const flaky = use(
      await Backend.start((req) => {
        broken += 1;
        req.socket.destroy();
      }),
    );
    const echo = use(await Backend.start((req, res) => req.pipe(res)));
    const client = use(
      new MeshClient({ catalog: (await registryWith(flaky, echo)).catalog, balancer: 'round-robin' }),
    );
    for (let n = 0; n < 4; n += 1) expect((await client.fetch('http://web/')).status).toBe(200);
    expect(broken).toBeGreaterThan(0);
    const before = broken;
    const outcomes = await Promise.all(
      [1, 2].map((n) =>
        client.fetch('http://web/', { method: 'POST', body: `post ${n}` }).then(
          (r) => r.text(),
          () => 'failed',
        ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'failed')).toHaveLength(1);
    expect(broken).toBe(before + 1);
  });

  it('a dead endpoint costs nothing, whatever the method and body: nothing was sent', async () => {
    const dead = use(await Backend.start(hello('dead')));
    const echo = use(await Backend.start((req, res) => req.pipe(res)));
    const client = use(new MeshClient({ catalog: (await registryWith(dead, echo)).catalog }));
    await dead.kill();
    const form = new URLSearchParams({ a: 'b' });
    for (let n = 0; n < 4; n += 1) {
      expect(await (await client.fetch('http://web/', { method: 'POST', body: form })).text()).toBe('a=b');
    }
  });

  it('follows endpoints that come and go, without a failed call', async () => {
    const first = use(await Backend.start(hello('1')));
    const registry = use(new ServiceRegistry({ store: use(new MemoryStateStore()) }));
    let registration = await registry.register({
      service: 'web',
      address: '127.0.0.1',
      ports: { http: first.port },
    });
    const client = use(new MeshClient({ catalog: registry.catalog }));
    let running = true;
    const failures: unknown[] = [];
    let done = 0;
    const load = Array.from({ length: 4 }, async () => {
      while (running) {
        await client
          .fetch('http://web/')
          .then((r) => r.text())
          .then(
            () => {
              done += 1;
            },
            (error: Error) => failures.push(error.cause ?? error),
          );
      }
    });
    let current = first;
    for (let n = 2; n < 7; n += 1) {
      const next = use(await Backend.start(hello(String(n))));
      const after = await registry.register({
        service: 'web',
        address: '127.0.0.1',
        ports: { http: next.port },
      });
      await registration.drain();
      await wait(60);
      await registration.close();
      await current.kill();
      registration = after;
      current = next;
    }
    running = false;
    await Promise.all(load);
    expect(failures).toEqual([]);
    expect(done).toBeGreaterThan(100);
  });

  it('stops calling what keeps failing, and finds out by itself that it is well again', async () => {
    let ill = true;
    const server = use(await Backend.start((req, res) => (ill ? req.socket.destroy() : res.end('well'))));
    const client = use(
      new MeshClient({ catalog: (await registryWith(server)).catalog, breaker: { openMs: 200 } }),
    );
    let last: unknown;
    for (let n = 0; n < 6; n += 1)
      last = await client.fetch('http://web/').catch((error: Error) => error.cause);
    expect(last).toMatchObject({ code: 'CIRCUIT_OPEN', retryable: true });
    const seen = server.requests;
    await client.fetch('http://web/').catch(() => {});
    expect(server.requests).toBe(seen);
    ill = false;
    await until('recovery', () =>
      client.fetch('http://web/').then(
        (r) => r.ok,
        () => false,
      ),
    );
  });

  it('an aborted call ends at once, before, while waiting and in the middle', async () => {
    const slow = use(await Backend.start((_, res) => void res.write('some')));
    const client = use(
      new MeshClient({ catalog: (await registryWith(slow)).catalog, endpointWaitMs: 10_000 }),
    );
    await expect(client.fetch('http://web/', { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    await expect(client.fetch('http://nobody/', { signal: AbortSignal.timeout(50) })).rejects.toThrow(
      /abort|timeout/i,
    );
    const stop = new AbortController();
    const answer = await client.fetch('http://web/', { signal: stop.signal });
    stop.abort();
    await expect(answer.text()).rejects.toThrow();
  });
});

describe('ServiceMesh', () => {
  it('obeys policies and rules as the node proxy does', async () => {
    const store = use(new MemoryStateStore());
    const mesh = use(new ServiceMesh({ store, service: 'web' }));
    const versions = [];
    for (const version of ['1', '2']) {
      const service = new Microservice({
        name: 'prices',
        version,
        host: '127.0.0.1',
        port: 0,
        registry: mesh.registry,
        routes: { 'GET /': () => ({ body: version }) },
      });
      versions.push(use(service));
      await service.start();
    }
    await mesh.applyRule('canary', { target: { service: 'prices', version: '2' } });
    await until('rule', () => (mesh.snapshot?.rules.length ?? 0) === 1);
    for (let n = 0; n < 4; n += 1) expect(await (await mesh.fetch('http://prices/')).text()).toBe('2');
    await mesh.applyPolicy('closed', {
      selector: { service: 'prices' },
      ingress: [{ peers: [{ service: 'shop' }] }],
    });
    await until('policy', () => mesh.snapshot?.policies.length === 1);
    const refused = await mesh.fetch('http://prices/').catch((error: Error) => error.cause);
    expect(refused).toMatchObject({ code: 'POLICY_DENIED', message: expect.stringContaining('service web') });
    expect(mesh.evaluate({ service: 'shop' }, { service: 'prices' }, 80).allowed).toBe(true);
  });
});

describe('Microservice', () => {
  it('serves routes, health and problems; ends without a failed request', async () => {
    const service = new Microservice({
      name: 'shop',
      host: '127.0.0.1',
      environment: {},
      maxBodyBytes: 100,
      routes: {
        'GET /items/:id': ({ params }) => ({ body: { id: params.id } }),
        'GET /items/special': () => ({ body: 'special' }),
        'POST /items': async (req) => ({ status: 201, body: await req.json() }),
        'GET /crash': () => {
          throw new Error('secret detail');
        },
        'GET /slow': async () => {
          await wait(300);
          return { body: 'slow' };
        },
      },
    });
    const { url } = await service.start();
    const get = async (path: string, init?: RequestInit): Promise<[number, unknown]> => {
      const answer = await fetch(url + path, init);
      return [
        answer.status,
        answer.headers.get('content-type')?.includes('json') ? await answer.json() : await answer.text(),
      ];
    };
    expect(await get('/items/a%20b')).toEqual([200, { id: 'a b' }]);
    expect(await get('/items/special')).toEqual([200, 'special']);
    expect(await get('/items', { method: 'POST', body: '{"n":1}' })).toEqual([201, { n: 1 }]);
    expect(await get('/items', { method: 'POST', body: '{' })).toMatchObject([400, { code: 'INVALID_JSON' }]);
    expect(await get('/items', { method: 'POST', body: 'x'.repeat(101) })).toMatchObject([
      413,
      { code: 'BODY_TOO_LARGE' },
    ]);
    expect(await get('/items/1', { method: 'DELETE' })).toMatchObject([405, { code: 'METHOD_NOT_ALLOWED' }]);
    expect(await get('/none')).toMatchObject([404, { code: 'NOT_FOUND' }]);
    const [status, problem] = await get('/crash');
    expect(status).toBe(500);
    expect(JSON.stringify(problem)).not.toContain('secret detail');
    expect((await get('/healthz'))[0]).toBe(200);
    expect((await get('/readyz'))[0]).toBe(200);
    const slow = get('/slow');
    await wait(50);
    await service.close();
    expect(await slow).toEqual([200, 'slow']);
    await expect(get('/healthz')).rejects.toThrow();
  });

  it('honours HOST and PORT, and says whose port is in use', async () => {
    const port = await freePort();
    const environment = { HOST: '127.0.0.1', PORT: String(port) };
    const first = use(new Microservice({ name: 'a', environment }));
    expect((await first.start()).url).toBe(`http://127.0.0.1:${port}`);
    const second = new Microservice({ name: 'b', environment });
    await expect(second.start()).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(String(port)),
    });
    await expect(
      new Microservice({ name: 'c', environment: { PORT: 'http' } }).start(),
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('telemetry', () => {
  it('one trace from the caller through client, service, proxy and the next service; counts, durations and errors', async () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const spans = new InMemorySpanExporter();
    trace.setGlobalTracerProvider(
      new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
    );
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const meters = new MeterProvider({ readers: [reader] });
    metrics.setGlobalMeterProvider(meters);

    const store = use(new MemoryStateStore());
    const mesh = use(new ServiceMesh({ store, service: 'front' }));
    let seen: string | undefined;
    const backend = use(
      await Backend.start((req, res) => {
        seen = String(req.headers.traceparent);
        res.statusCode = req.url === '/bad' ? 503 : 200;
        res.end('ok');
      }),
    );
    const proxyPort = await freePort();
    const proxy = use(new NodeProxy());
    await proxy.apply(snapshotOf({ service: 'stock', port: proxyPort, endpoints: [backend.endpoint('s0')] }));
    const front: Microservice = use(
      new Microservice({
        name: 'front',
        host: '127.0.0.1',
        port: 0,
        registry: mesh.registry,
        client: mesh.client,
        routes: { 'GET /buy': async () => ({ body: await (await front.call('stock', '/count')).text() }) },
      }),
    );
    await front.start();
    await mesh.register({ service: 'stock', address: '127.0.0.1', ports: { http: proxyPort } });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    expect(await (await mesh.fetch('http://front/buy', { headers: { traceparent } })).text()).toBe('ok');
    await fetch(`http://127.0.0.1:${proxyPort}/bad`);

    const own = spans
      .getFinishedSpans()
      .filter((span) => span.spanContext().traceId === '0af7651916cd43dd8448eb211c80319c');
    expect(own.map((span) => span.name).sort()).toEqual(['GET front', 'GET front', 'GET stock', 'GET stock']);
    // Each span is the child of another of the trace, back to the caller's own.
    const ids = new Set(own.map((span) => span.spanContext().spanId));
    const parents = own.map((span) => span.parentSpanContext?.spanId ?? '');
    expect(parents.filter((parent) => !ids.has(parent))).toEqual(['b7ad6b7169203331']);
    expect(seen?.slice(3, 35)).not.toBe('0'.repeat(32));

    await reader.forceFlush();
    const points = exporter
      .getMetrics()
      .flatMap((batch) => batch.scopeMetrics.flatMap((scope) => scope.metrics));
    const names = points.map((point) => point.descriptor.name);
    for (const name of [
      'http.client.request.duration',
      'http.server.request.duration',
      'heptad.mesh.client.requests',
      'heptad.mesh.server.errors',
    ]) {
      expect(names).toContain(name);
    }
    const errors =
      points.find((point) => point.descriptor.name === 'heptad.mesh.server.errors')?.dataPoints ?? [];
    expect(errors[0]?.attributes).toMatchObject({
      'server.address': 'stock',
      'http.response.status_code': 503,
      'error.type': '503',
    });
    await meters.shutdown();
  });
});
