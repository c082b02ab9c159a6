// The node proxy against real servers and clients on loopback.

import { createHash, randomBytes } from 'node:crypto';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type AccessLogEntry, NodeProxy, type UpstreamOptions } from '@heptad/mesh';
import { Agent, fetch, request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { Backend, freePort, raw, type Shape, snapshotOf, statuses, until, wait } from './fixtures.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

async function backend(...args: Parameters<typeof Backend.start>): Promise<Backend> {
  const made = await Backend.start(...args);
  open.push(made);
  return made;
}

interface Running {
  readonly proxy: NodeProxy;
  readonly port: number;
  readonly url: string;
  readonly log: AccessLogEntry[];
  apply(shape: Omit<Shape, 'port'>): Promise<void>;
}

async function proxyFor(shape: Omit<Shape, 'port'>, upstream: UpstreamOptions = {}): Promise<Running> {
  const port = await freePort();
  const log: AccessLogEntry[] = [];
  const proxy = new NodeProxy({ upstream, onAccess: (entry) => log.push(entry) });
  open.push(proxy);
  const apply = (next: Omit<Shape, 'port'>): Promise<void> => proxy.apply(snapshotOf({ ...next, port }));
  await apply(shape);
  return { proxy, port, url: `http://127.0.0.1:${port}`, log, apply };
}

const hello = (name: string) => (_: unknown, response: { end(text: string): void }) => response.end(name);

describe('forwarding', () => {
  it('balances request by request over one client connection', async () => {
    const [a, b] = [await backend(hello('a')), await backend(hello('b'))];
    const { url } = await proxyFor({ endpoints: [a.endpoint('a'), b.endpoint('b')] });
    const client = new Agent({ connections: 1 });
    const answers: string[] = [];
    for (let n = 0; n < 10; n += 1)
      answers.push(await (await request(url, { dispatcher: client })).body.text());
    await client.close();
    expect(answers.filter((answer) => answer === 'a')).toHaveLength(5);
    expect(answers.filter((answer) => answer === 'b')).toHaveLength(5);
  });

  it('carries large bodies both ways intact, chunked and with a length', async () => {
    const echo = await backend((req, res) => {
      if (req.url === '/length') res.setHeader('content-length', req.headers['x-size'] as string);
      req.pipe(res);
    });
    const { url } = await proxyFor({ endpoints: [echo.endpoint('a')] });
    const body = randomBytes(5_000_000);
    const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    for (const path of ['/chunked', '/length']) {
      const whole = await request(url + path, {
        method: 'POST',
        body,
        headers: { 'x-size': String(body.length) },
      });
      expect(digest(new Uint8Array(await whole.body.arrayBuffer()))).toBe(digest(body));
      const stream = new ReadableStream({
        start(controller) {
          for (let at = 0; at < body.length; at += 70_000) controller.enqueue(body.subarray(at, at + 70_000));
          controller.close();
        },
      });
      const streamed = await fetch(url + path, {
        method: 'POST',
        body: stream,
        duplex: 'half',
        headers: { 'x-size': String(body.length) },
      });
      expect(digest(await streamed.bytes())).toBe(digest(body));
    }
  });

  it('a client that reads slowly slows the endpoint down instead of filling the memory', async () => {
    let written = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const source = await backend((_, res) => {
      const pump = (): void => {
        while (written < 200_000_000) {
          written += chunk.length;
          if (!res.write(chunk)) {
            res.once('drain', pump);
            return;
          }
        }
        res.end();
      };
      pump();
    });
    const { port } = await proxyFor({ endpoints: [source.endpoint('a')] });
    const socket = connect(port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    socket.pause();
    await wait(1_000);
    expect(written).toBeLessThan(60_000_000);
    socket.destroy();
  });

  it('answers HEAD, 204, 304 and pipelined requests in order', async () => {
    const server = await backend((req, res) => {
      if (req.url === '/204') res.writeHead(204).end();
      else if (req.url === '/304') res.writeHead(304, { etag: 'x' }).end();
      else res.end(`path ${req.url}`);
    });
    const { port } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const get = (path: string, method = 'GET'): string => `${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const text = await raw(port, [get('/1') + get('/2', 'HEAD') + get('/204') + get('/304') + get('/last')], {
      untilText: 'path /last',
    });
    expect(statuses(text)).toEqual([200, 200, 204, 304, 200]);
    expect(text.indexOf('path /1')).toBeLessThan(text.indexOf('path /last'));
    expect(text).not.toContain('path /2');
  });

  it('serves HTTP/1.0 clients: no chunks, the connection ends unless they ask to keep it', async () => {
    const server = await backend((_, res) => {
      res.write('one ');
      res.end('two');
    });
    const { port } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const text = await raw(port, ['GET / HTTP/1.0\r\n\r\n']);
    expect(text).toContain('\r\n\r\none two');
    expect(text.toLowerCase()).not.toContain('transfer-encoding');
  });

  it('passes 100-continue and early hints on', async () => {
    const server = await backend((req, res) => {
      res.writeEarlyHints({ link: '</a.css>; rel=preload' });
      req.resume();
      req.on('end', () => res.end('done'));
    });
    server.server.on('checkContinue', (req, res) => {
      res.writeContinue();
      server.server.emit('request', req, res);
    });
    const { port } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes.toString();
    });
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    await until('continue', () => text.includes('100 Continue'));
    socket.write('hello');
    await until('answer', () => text.includes('done'));
    expect(statuses(text)).toEqual([100, 103, 200]);
    socket.destroy();
  });

  it('tunnels WebSocket upgrades and hands over bytes that came early', async () => {
    const server = await backend(hello('x'));
    server.server.on('upgrade', (_, socket, early) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      socket.write(early);
      socket.pipe(socket);
    });
    const { port, log } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const ask = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly';
    const text = await raw(port, [ask, ' later'], { untilText: 'early later' });
    expect(statuses(text)).toEqual([101]);
    await until('log', () => log.length === 1);
    expect(log[0]).toMatchObject({ kind: 'upgrade', status: 101, path: '/ws' });
  });

  it('gives each request an id and the trace, and tells the endpoint who called', async () => {
    const server = await backend((req, res) => res.end(JSON.stringify(req.headers)));
    const { url, log } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const given = await fetch(url, { headers: { traceparent, 'x-request-id': 'mine-1' } });
    expect(await given.json()).toMatchObject({
      traceparent,
      'x-request-id': 'mine-1',
      'x-forwarded-for': '127.0.0.1',
    });
    expect(given.headers.get('x-request-id')).toBe('mine-1');
    const made = (await (await fetch(url)).json()) as Record<string, string>;
    expect(made.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(made['x-request-id']).toMatch(/^[0-9a-f]{32}$/);
    expect(log.map((entry) => entry.traceId)).toEqual([
      '0af7651916cd43dd8448eb211c80319c',
      made.traceparent?.slice(3, 35),
    ]);
  });
});

describe('failure', () => {
  it('a request to a dead endpoint goes to another, whatever its method: nothing was sent', async () => {
    const dead = await backend(hello('dead'));
    await dead.kill();
    const live = await backend((req, res) => req.pipe(res));
    const { url } = await proxyFor({ endpoints: [dead.endpoint('dead'), live.endpoint('live')] });
    for (let n = 0; n < 6; n += 1) {
      const answer = await request(url, { method: 'POST', body: `body ${n}` });
      expect([answer.statusCode, await answer.body.text()]).toEqual([200, `body ${n}`]);
    }
  });

  it('a GET whose connection breaks before an answer is repeated; a POST is not, and says so', async () => {
    let broken = 0;
    const flaky = await backend((req) => {
      broken += 1;
      req.socket.destroy();
    });
    const live = await backend(hello('live'));
    const { url } = await proxyFor({ endpoints: [flaky.endpoint('a'), live.endpoint('b')] });
    for (let n = 0; n < 4; n += 1) expect(await (await fetch(url)).text()).toBe('live');
    expect(broken).toBeGreaterThan(0);
    const before = broken;
    const answers = await Promise.all([1, 2].map(() => fetch(url, { method: 'POST', body: 'x' })));
    const failed = answers.find((answer) => answer.status === 502);
    expect(broken).toBe(before + 1);
    expect(await failed?.json()).toMatchObject({
      code: 'UPSTREAM_CLOSED',
      hint: expect.stringContaining('may have taken effect'),
    });
  });

  it('in a full outage endpoints see at most a fifth more than the requests, beyond the reserve', async () => {
    let seen = 0;
    const broken = await backend((req) => {
      seen += 1;
      req.socket.destroy();
    });
    const { url } = await proxyFor(
      { endpoints: [broken.endpoint('a')] },
      {
        retryBudget: { minRetryRate: 0, ratio: 0.2 },
        breaker: { consecutiveFailures: 1_000_000, minimumCalls: 1_000_000 },
      },
    );
    for (let n = 0; n < 200; n += 1) expect((await fetch(url)).status).toBe(502);
    expect(seen).toBeGreaterThan(200);
    expect(seen).toBeLessThanOrEqual(240);
  });

  it('the breaker opens on an endpoint that keeps failing, answers at once, and recovers by itself', async () => {
    let ill = true;
    const server = await backend((req, res) => (ill ? req.socket.destroy() : res.end('well')));
    const { url, proxy } = await proxyFor(
      { endpoints: [server.endpoint('a')] },
      { breaker: { openMs: 200 } },
    );
    let last: Awaited<ReturnType<typeof fetch>> | undefined;
    for (let n = 0; n < 10; n += 1) last = await fetch(url);
    expect(last?.status).toBe(503);
    expect(await last?.json()).toMatchObject({ code: 'CIRCUIT_OPEN' });
    expect(last?.headers.get('retry-after')).toBe('1');
    expect(proxy.status().services[0]?.endpoints[0]?.circuit).toBe('open');
    const seen = server.requests;
    await fetch(url);
    expect(server.requests).toBe(seen);
    ill = false;
    await until('recovery', async () => (await fetch(url)).status === 200);
    expect(proxy.status().services[0]?.endpoints[0]?.circuit).toBe('closed');
  });

  it('waits a little for an endpoint during a rollout, then says 503 with what to do', async () => {
    const server = await backend(hello('late'));
    const { url, apply } = await proxyFor({ endpoints: [] }, { endpointWaitMs: 600 });
    const waiting = fetch(url);
    await wait(100);
    await apply({ endpoints: [server.endpoint('a')] });
    expect(await (await waiting).text()).toBe('late');
    await apply({ endpoints: [server.endpoint('a', { state: 'draining' })] });
    const refused = await fetch(url);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    expect(await refused.json()).toMatchObject({
      code: 'NO_ENDPOINT',
      hint: expect.stringContaining('heptad ps web'),
    });
  });

  it('an answer that breaks off reaches the client as broken, never as complete', async () => {
    const server = await backend((req, res) => {
      res.writeHead(200, { 'content-length': '1000' });
      res.write('half');
      setTimeout(() => req.socket.destroy(), 50);
    });
    const { url, log } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const answer = await request(url);
    await expect(answer.body.text()).rejects.toThrow();
    await until('log', () => log.length === 1);
    expect(log[0]).toMatchObject({ status: 200, error: 'UPSTREAM_CLOSED' });
  });

  it('an endpoint that does not answer in time is a 504', async () => {
    const server = await backend(() => {});
    const { url } = await proxyFor({ endpoints: [server.endpoint('a')] }, { responseTimeoutMs: 300 });
    const answer = await fetch(url);
    expect(answer.status).toBe(504);
    expect(await answer.json()).toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
  });

  it('an endpoint that closes an idle connection just as it is used costs no failed request', async () => {
    // Answers the first request of each connection and breaks it off at the first byte of the second: the race, every time.
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        socket.once('data', () => socket.destroy());
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const ports = { http: (server.address() as AddressInfo).port };
    open.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) });
    // No budget at all: giving up an idle connection is no failure, so it must not need one.
    const { url, proxy } = await proxyFor(
      { endpoints: [{ id: 'a', address: '127.0.0.1', ports, weight: 1, state: 'ready' }] },
      { retryBudget: { minRetryRate: 0, ratio: 0 } },
    );
    for (let n = 0; n < 20; n += 1) expect((await fetch(url)).status).toBe(200);
    expect(proxy.status().services[0]?.endpoints[0]?.circuit).toBe('closed');
  });

  it('a client that goes away takes its request with it', async () => {
    let aborted = false;
    const server = await backend((_, res) => {
      res.on('close', () => {
        aborted = true;
      });
    });
    const { port, proxy } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const socket = connect(port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('arrival', () => server.requests === 1);
    socket.destroy();
    await until('abort', () => aborted);
    expect(proxy.status().services[0]?.endpoints[0]).toMatchObject({ inFlight: 0, circuit: 'closed' });
  });
});

describe('change under load', () => {
  it('a rolling replacement of all endpoints fails no request, draining ones get nothing new', async () => {
    const serve = (name: string) => (_: unknown, res: { end(text: string): void }) =>
      setTimeout(() => res.end(name), 5);
    let current = [await backend(serve('v1-0')), await backend(serve('v1-1'))];
    let endpoints = current.map((one, index) => one.endpoint(`v1-${index}`));
    const { url, apply } = await proxyFor({ endpoints });
    const load = startLoad(url);
    for (let version = 2; version <= 6; version += 1) {
      for (let slot = 0; slot < 2; slot += 1) {
        const next = await backend(serve(`v${version}-${slot}`));
        const old = current[slot] as Backend;
        const oldEndpoint = endpoints[slot];
        if (oldEndpoint === undefined) throw new Error('no endpoint');
        const others = endpoints.filter((_, index) => index !== slot);
        await apply({
          endpoints: [...others, next.endpoint(`v${version}-${slot}`), { ...oldEndpoint, state: 'draining' }],
        });
        const atDrain = old.requests;
        await load.more(16);
        // In flight at the moment of the swap: at most what the load holds open.
        expect(old.requests - atDrain).toBeLessThanOrEqual(load.concurrency);
        await old.kill();
        current = current.map((one, index) => (index === slot ? next : one));
        endpoints = endpoints.map((one, index) =>
          index === slot ? next.endpoint(`v${version}-${slot}`) : one,
        );
        await apply({ endpoints });
      }
    }
    const { done, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(done).toBeGreaterThanOrEqual(160);
  });

  it('a hundred snapshots under load cost no request', async () => {
    const servers = [await backend(hello('a')), await backend(hello('b')), await backend(hello('c'))];
    const { url, apply, proxy } = await proxyFor({
      endpoints: servers.map((one, n) => one.endpoint(`e${n}`)),
    });
    const load = startLoad(url);
    for (let n = 0; n < 100; n += 1) {
      await apply({
        endpoints: servers
          .filter((_, index) => index !== n % 3)
          .map((one) => one.endpoint(`e${servers.indexOf(one)}`)),
        rules: n % 2 ? [{ name: 'r', spec: { target: { service: 'web' }, weight: 50, conditions: [] } }] : [],
        policies:
          n % 3
            ? []
            : [
                {
                  name: 'p',
                  spec: {
                    selector: { service: 'web' },
                    ingress: [{ peers: [{ cidr: '127.0.0.0/8' }], ports: [] }],
                  },
                },
              ],
      });
      await load.more(2);
    }
    const { done, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(done).toBeGreaterThanOrEqual(200);
    expect(proxy.status().services[0]?.errors).toBe(0);
  });

  it('drain lets requests in flight end, refuses new connections and is done', async () => {
    const server = await backend((_, res) => setTimeout(() => res.end('slow'), 300));
    const { url, port, proxy } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const slow = fetch(url);
    await until('arrival', () => server.requests === 1);
    const draining = proxy.drain({ deadlineMs: 5_000 });
    expect(await (await slow).text()).toBe('slow');
    await draining;
    await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow();
  });
});

describe('policies and rules', () => {
  const onlyShop = [
    {
      name: 'only-shop',
      spec: { selector: { service: 'web' }, ingress: [{ peers: [{ service: 'shop' }], ports: [] }] },
    },
  ];

  it('refuses with 403 and the reason; a caller is known by its source address', async () => {
    const server = await backend(hello('ok'));
    const { url, apply } = await proxyFor({ endpoints: [server.endpoint('a')], policies: onlyShop });
    const refused = await fetch(url);
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({
      code: 'POLICY_DENIED',
      detail: expect.stringContaining('no ingress rule of policy only-shop allows address 127.0.0.1'),
    });
    await apply({
      endpoints: [server.endpoint('a')],
      policies: onlyShop,
      workloads: { '127.0.0.1': { service: 'shop', labels: {} } },
    });
    expect((await fetch(url)).status).toBe(200);
    expect(server.requests).toBe(1);
  });

  it('is asked anew after each snapshot, also on a connection that stays', async () => {
    const server = await backend(hello('ok'));
    const { url, apply } = await proxyFor({ endpoints: [server.endpoint('a')] });
    const client = new Agent({ connections: 1 });
    const status = async (): Promise<number> => {
      const answer = await request(url, { dispatcher: client });
      await answer.body.dump();
      return answer.statusCode;
    };
    let connections = 0;
    client.on('connect', () => {
      connections += 1;
    });
    expect(await status()).toBe(200);
    await apply({ endpoints: [server.endpoint('a')], policies: onlyShop });
    expect(await status()).toBe(403);
    await apply({ endpoints: [server.endpoint('a')] });
    expect(await status()).toBe(200);
    expect(connections).toBe(1);
    await client.close();
  });

  it('a new policy closes live upgraded and tcp connections it forbids, and leaves the others', async () => {
    const server = await backend(hello('x'));
    server.server.on('upgrade', (_, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    for (const mode of ['http', 'tcp'] as const) {
      const { port, apply } = await proxyFor({ endpoints: [server.endpoint('a')], mode });
      const socket = connect(port, '127.0.0.1');
      let text = '';
      let closed = false;
      socket.on('data', (bytes) => {
        text += bytes.toString();
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        closed = true;
      });
      socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      await until('upgrade', () => text.includes('101'));
      await apply({ endpoints: [server.endpoint('a')], mode, labels: { changed: 'harmlessly' } });
      socket.write('ping');
      await until('echo', () => text.includes('ping'));
      await apply({ endpoints: [server.endpoint('a')], mode, policies: onlyShop });
      await until('close', () => closed);
    }
  });

  it('sends requests to the version a rule names, by header and by weight', async () => {
    const [v1, v2] = [await backend(hello('v1')), await backend(hello('v2'))];
    const { url } = await proxyFor({
      endpoints: [v1.endpoint('a', { version: '1' }), v2.endpoint('b', { version: '2' })],
      rules: [
        {
          name: 'canary',
          spec: {
            target: { service: 'web', version: '2' },
            weight: 100,
            conditions: [{ on: 'header', header: 'X-Canary', operator: 'Equals', value: 'yes' }],
          },
        },
        { name: 'rest', spec: { target: { service: 'web', version: '1' }, weight: 100, conditions: [] } },
      ],
    });
    for (let n = 0; n < 5; n += 1) {
      expect(await (await fetch(url)).text()).toBe('v1');
      expect(await (await fetch(url, { headers: { 'x-canary': 'yes' } })).text()).toBe('v2');
    }
  });
});

describe('tcp mode', () => {
  it('carries any bytes, with half-close, balanced by connection', async () => {
    const servers = ['a', 'b'].map(async (name) => {
      const { createServer } = await import('node:net');
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        const chunks: Buffer[] = [];
        socket.on('data', (bytes) => chunks.push(bytes));
        socket.on('end', () => socket.end(`${name}:${Buffer.concat(chunks).length}`));
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      open.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) });
      const { port } = server.address() as { port: number };
      return { id: name, address: '127.0.0.1', ports: { http: port }, weight: 1, state: 'ready' as const };
    });
    const { port, log } = await proxyFor({ endpoints: await Promise.all(servers), mode: 'tcp' });
    const answers = [];
    for (let n = 0; n < 4; n += 1)
      answers.push(await raw(port, ['\0\x01\xff'.repeat(50_000)], { end: true }));
    expect(answers.sort()).toEqual(['a:150000', 'a:150000', 'b:150000', 'b:150000']);
    await until('log', () => log.length === 4);
    expect(log[0]).toMatchObject({ kind: 'tcp', service: 'web', error: undefined });
  });
});

describe('listeners', () => {
  it('a port in use is reported with address, port and owner, everything else is served, and it is taken when free', async () => {
    const server = await backend(hello('ok'));
    const blocker = await backend(hello('blocker'));
    const port = await freePort();
    const proxy = new NodeProxy();
    open.push(proxy);
    const snapshot = snapshotOf({ port, endpoints: [server.endpoint('a')] });
    const service = snapshot.services[0];
    if (service === undefined) throw new Error('no service');
    const published = { address: '127.0.0.1', port: blocker.port };
    await proxy.apply({
      ...snapshot,
      services: [{ ...service, ports: [{ name: 'http', port, protocol: 'TCP', published }] }],
    });
    expect(await (await fetch(`http://127.0.0.1:${port}`)).text()).toBe('ok');
    const listener = proxy.status().listeners.find((one) => one.purpose === 'published');
    expect(listener).toMatchObject({ state: 'retrying', error: { code: 'PORT_IN_USE' } });
    expect(proxy.status().problems[0]).toContain(
      `127.0.0.1:${blocker.port} for service web: the port is in use by`,
    );
    expect(proxy.status().problems[0]).toContain(`(pid ${process.pid})`);
    await blocker.kill();
    await until('taken', () => proxy.status().problems.length === 0);
    expect(await (await fetch(`http://127.0.0.1:${blocker.port}`)).text()).toBe('ok');
  });

  it('publishes on all addresses a port that services have at addresses of their own, and tells them apart', async () => {
    const [one, other] = [await backend(hello('one')), await backend(hello('other'))];
    const proxy = new NodeProxy();
    open.push(proxy);
    const port = await freePort();
    const first = snapshotOf({ port, endpoints: [one.endpoint('a')] });
    const service = first.services[0];
    if (service === undefined) throw new Error('no service');
    const ports = [{ name: 'http', port, protocol: 'TCP' as const }];
    const own = { ...service, name: 'own', virtualAddress: '127.66.0.1', ports };
    const whole = { ...service, name: 'whole', virtualAddress: '127.66.0.2', ports };
    const endpoints = [
      { service: 'own', version: 1, endpoints: [one.endpoint('a')] },
      { service: 'whole', version: 1, endpoints: [other.endpoint('b')] },
    ];
    const published = { address: '0.0.0.0', port };
    const withPublished = [
      own,
      { ...whole, ports: [{ name: 'http', port, protocol: 'TCP' as const, published }] },
    ];
    const asked = async (address: string): Promise<string> =>
      (await fetch(`http://${address}:${port}`, { headers: { connection: 'close' } })).text();
    // Before, while and after the port is published.
    for (const services of [[own, whole], withPublished, [own, whole]]) {
      await proxy.apply({ ...first, services, endpoints });
      expect(proxy.status().problems).toEqual([]);
      expect([await asked('127.66.0.1'), await asked('127.66.0.2')]).toEqual(['one', 'other']);
      const anywhere = asked('127.0.0.1').catch(() => 'nobody');
      expect(await anywhere).toBe(services === withPublished ? 'other' : 'nobody');
    }
  });

  it('says of a UDP port that it is not supported', async () => {
    const proxy = new NodeProxy();
    open.push(proxy);
    const snapshot = snapshotOf({ port: await freePort(), endpoints: [] });
    const service = snapshot.services[0];
    if (service === undefined) throw new Error('no service');
    await proxy.apply({
      ...snapshot,
      services: [{ ...service, ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }],
    });
    expect(proxy.status().listeners[0]).toMatchObject({
      state: 'not-supported',
      error: { code: 'NOT_SUPPORTED' },
    });
  });

  it('closes the listener of a service that is gone', async () => {
    const server = await backend(hello('ok'));
    const { url, proxy } = await proxyFor({ endpoints: [server.endpoint('a')] });
    expect((await fetch(url)).status).toBe(200);
    await proxy.apply({ revision: 99, services: [], endpoints: [], policies: [], rules: [], workloads: {} });
    expect(proxy.status().listeners).toEqual([]);
    await expect(fetch(url, { dispatcher: new Agent() })).rejects.toThrow();
  });
});

/** Keeps `concurrency` requests under way until stopped. */
function startLoad(url: string): {
  readonly concurrency: number;
  /** Waits until so many more have been answered. */
  more(count: number): Promise<void>;
  stop(): Promise<{ done: number; failures: string[] }>;
} {
  const concurrency = 8;
  let running = true;
  let done = 0;
  const failures: string[] = [];
  const client = new Agent({ connections: concurrency });
  const workers = Array.from({ length: concurrency }, async (_, worker) => {
    while (running) {
      try {
        const answer = await request(url, {
          dispatcher: client,
          method: worker % 2 ? 'GET' : 'PUT',
          ...(worker % 2 ? {} : { body: 'x' }),
        });
        const text = await answer.body.text();
        if (answer.statusCode === 200) done += 1;
        else failures.push(`${answer.statusCode} ${text}`);
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  return {
    concurrency,
    more: (count) => {
      const wanted = done + count;
      return until(`${count} more requests`, () => done >= wanted || failures.length > 0);
    },
    stop: async () => {
      running = false;
      await Promise.all(workers);
      await client.close();
      return { done, failures };
    },
  };
}
