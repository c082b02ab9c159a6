import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReceivedEvent } from '../src/client/event-parser.ts';
import { serviceSpecOf, TestServer } from './support/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

const POLICY = { spec: { selector: { service: 'web' }, ingress: [] } };

describe('errors', () => {
  it.each<[string, string, string, unknown, number, string]>([
    ['a path that there is not', 'GET', '/api/v1/nothing', undefined, 404, 'NOT_FOUND'],
    ['a service that there is not', 'GET', '/api/v1/services/nothing', undefined, 404, 'NOT_FOUND'],
    ['a name that is none', 'GET', '/api/v1/services/NOT_A_NAME', undefined, 400, 'INVALID_ARGUMENT'],
    ['a page that is too long', 'GET', '/api/v1/services?limit=5000', undefined, 400, 'INVALID_ARGUMENT'],
    ['a body that lacks things', 'PUT', '/api/v1/services/web', { spec: {} }, 400, 'INVALID_ARGUMENT'],
    [
      'a query that cannot be read',
      'GET',
      '/api/v1/monitoring/query?query=sum(',
      undefined,
      400,
      'INVALID_QUERY',
    ],
    [
      'a user that is there already',
      'POST',
      '/api/v1/users',
      { name: 'admin', roles: ['viewer'] },
      409,
      'USER_EXISTS',
    ],
  ])('of %s are problems', async (_what, method, path, body, status, code) => {
    const answer = await server.admin(method, path, body);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.body).toMatchObject({ type: expect.any(String), title: expect.any(String), status });
    expect(answer.body.detail.length).toBeGreaterThan(10);
  });

  it('of a request that is wrong say what to do', async () => {
    const { body } = await server.admin('PUT', '/api/v1/services/web', { spec: {} });
    expect(body.hint).toBe('compare it with /openapi.json');
    expect(body.detail).toContain('body/spec/image');
    const broken = await server.ask('POST', '/api/v1/plan', {
      token: server.adminToken,
      headers: { 'content-type': 'application/json' },
    });
    expect([broken.status, broken.body.hint]).toEqual([400, 'compare it with /openapi.json']);
  });
});

describe('revisions', () => {
  it('guard changes and deletions against what the client has not seen', async () => {
    const path = '/api/v1/mesh/policies/guarded';
    const create = { 'if-none-match': '*' };
    const made = await server.admin('PUT', path, POLICY, create);
    expect(made.status).toBe(200);
    expect(await server.admin('PUT', path, POLICY, create)).toMatchObject({
      status: 412,
      body: { code: 'REVISION_CONFLICT' },
    });
    const old = String(made.headers.etag);
    expect((await server.admin('GET', path)).headers.etag).toBe(old);

    const spec = { selector: { service: 'web' } };
    const changed = await server.admin('PUT', path, { spec }, { 'if-match': old });
    expect(changed.status).toBe(200);
    expect(changed.headers.etag).not.toBe(old);
    for (const method of ['PUT', 'DELETE']) {
      const body = method === 'PUT' ? POLICY : undefined;
      const late = await server.admin(method, path, body, { 'if-match': old });
      expect([method, late.status, late.body.code]).toEqual([method, 412, 'REVISION_CONFLICT']);
    }
    expect((await server.admin('GET', path)).body.spec).toEqual(spec);
    const now = { 'if-match': String(changed.headers.etag) };
    expect((await server.admin('DELETE', path, undefined, now)).status).toBe(204);
    expect((await server.admin('GET', path)).status).toBe(404);
  });

  it('of services are guarded as well, and nonsense is refused', async () => {
    const path = '/api/v1/services/guarded';
    await server.admin('PUT', path, { spec: serviceSpecOf() });
    expect((await server.admin('DELETE', path, undefined, { 'if-match': '"1"' })).status).toBe(412);
    expect((await server.admin('PUT', path, { spec: serviceSpecOf() }, { 'if-match': '"1"' })).status).toBe(
      412,
    );
    expect((await server.admin('PUT', path, { spec: serviceSpecOf() }, { 'if-match': 'x' })).status).toBe(
      400,
    );
    expect((await server.admin('DELETE', path)).status).toBe(202);
  });
});

describe('endpoints', () => {
  const spec = { service: 'billing', address: '192.0.2.7', ports: { http: 8080 } };

  it('of outside services are named, read and taken away', async () => {
    const path = '/api/v1/mesh/endpoints/billing-outside';
    const made = await server.admin('PUT', path, { spec });
    expect([made.status, made.body.status.state]).toEqual([200, 'ready']);
    expect((await server.admin('GET', path)).body.spec).toMatchObject(spec);
    expect((await server.admin('DELETE', path)).status).toBe(204);
    expect((await server.admin('GET', path)).status).toBe(404);
  });

  it('of the platform itself are not for others to change', async () => {
    const path = '/api/v1/mesh/endpoints/heptad';
    for (const method of ['PUT', 'DELETE']) {
      const answer = await server.admin(method, path, method === 'PUT' ? { spec } : undefined);
      expect([method, answer.status, answer.body.code]).toEqual([method, 409, 'CONFLICT']);
    }
    const posing = { ...spec, labels: { 'heptad.io/container': 'x' } };
    expect((await server.admin('PUT', '/api/v1/mesh/endpoints/other', { spec: posing })).status).toBe(409);
  });
});

describe('lists', () => {
  it.each([
    ['/api/v1/mesh/policies', (name: string) => server.admin('PUT', `/api/v1/mesh/policies/${name}`, POLICY)],
    ['/api/v1/keys', (name: string) => server.admin('POST', '/api/v1/keys', { name })],
    ['/api/v1/users', (name: string) => server.admin('POST', '/api/v1/users', { name, roles: ['viewer'] })],
  ])('%s come in pages', async (path, make) => {
    const names = ['page-a', 'page-b', 'page-c', 'page-d', 'page-e'];
    for (const name of names) expect((await make(name)).status).toBeLessThan(300);
    const whole = (await server.admin('GET', path)).body.items.map(({ name }: { name: string }) => name);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const query = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const { body } = await server.admin('GET', `${path}?limit=2${query}`);
      expect(body.items.length).toBeLessThanOrEqual(2);
      seen.push(...body.items.map(({ name }: { name: string }) => name));
      cursor = body.nextCursor;
    } while (cursor !== undefined);
    expect(seen).toEqual(whole);
    expect(seen.filter((name) => names.includes(name))).toEqual(names);
  });
});

describe('secrets', () => {
  it('are in no answer, and survive a PUT of what was shown', async () => {
    const path = '/api/v1/services/secretive';
    const secrets = ['s3cret-by-list', 's3cret-in-url', 's3cret-in-file'];
    const spec = serviceSpecOf({
      environment: { PIN: secrets[0], DB: `postgres://app:${secrets[1]}@db/x`, LOG: 'info' },
      secretEnvironment: ['PIN'],
      files: [{ target: '/run/key', content: secrets[2], secret: true }],
    });
    const put = await server.admin('PUT', path, { spec });
    const shown = await server.admin('GET', path);
    const back = await server.admin('PUT', path, { spec: shown.body.spec, labels: {} });
    expect(back.status).toBe(200);
    expect(back.body.generation).toBe(put.body.generation);
    const plan = await server.admin('POST', '/api/v1/plan', {
      project: 'x',
      services: [
        { name: 'secretive', spec: { ...spec, image: 'demo:2', environment: { PIN: 'n3w-secret' } } },
      ],
    });
    expect(plan.body.changes[0].because).toContain('image: "demo:1" -> "demo:2"');
    const others = await Promise.all(
      [
        '/api/v1/services',
        `${path}/history`,
        `${path}/explain`,
        '/api/v1/containers',
        '/api/v1/events/recent',
      ].map((one) => server.admin('GET', one)),
    );
    for (const { status, text } of [put, shown, back, plan, ...others]) {
      expect(status).toBe(200);
      for (const secret of [...secrets, 'n3w-secret']) expect(text).not.toContain(secret);
    }
    // What is stored, as only the platform itself can see it.
    const { body } = await server.admin('POST', '/api/v1/state/range', {
      key: '/resources/Service/default/secretive',
    });
    for (const secret of secrets) expect(body.kvs[0].value).toContain(secret);
  });
});

describe('events', () => {
  async function read(
    lastEventId: string,
    enough: (seen: ReceivedEvent[]) => boolean,
  ): Promise<ReceivedEvent[]> {
    const stop = new AbortController();
    const seen: ReceivedEvent[] = [];
    try {
      for await (const event of server
        .client(server.adminToken)
        .events({ lastEventId, signal: stop.signal })) {
        seen.push(event);
        if (enough(seen)) break;
      }
    } finally {
      stop.abort();
    }
    return seen;
  }

  it('resume after any of them, without gap or repetition', async () => {
    for (const name of ['first', 'second'])
      await server.admin('PUT', `/api/v1/services/event-${name}`, { spec: serviceSpecOf({ replicas: 3 }) });
    const all = await read('0', (seen) => seen.length >= 6);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    for (const [index, { id }] of all.entries()) {
      if (index === all.length - 1) break;
      const rest = await read(id, (seen) => seen.length === all.length - 1 - index);
      expect(rest).toEqual(all.slice(index + 1));
    }
  });

  it('resume from before the first one, when the connection was lost before it', async () => {
    let place = '';
    const stop = new AbortController();
    const events = server.client(server.adminToken).events({
      signal: stop.signal,
      onId: (id) => {
        place = id;
        stop.abort();
      },
    });
    await expect(events.next()).rejects.toThrow();
    expect(place).toMatch(/^\d+\.\d+$/);
    await server.admin('PUT', '/api/v1/services/event-late', { spec: serviceSpecOf() });
    const isLate = ({ data }: ReceivedEvent): boolean => JSON.stringify(data).includes('event-late');
    const seen = await read(place, (events_) => events_.some(isLate));
    expect(seen.some(isLate)).toBe(true);
  });

  it('that a place is not known of begin now, instead of failing', async () => {
    const stop = new AbortController();
    for (const lastEventId of ['999999999.0', 'nonsense']) {
      const response = await server
        .client(server.adminToken)
        .raw('GET', '/api/v1/events', { headers: { 'last-event-id': lastEventId }, signal: stop.signal });
      expect(response.statusCode).toBe(200);
    }
    stop.abort();
  });
});

describe('storage without a node', () => {
  it.each([
    ['PUT', '/api/v1/storage/b/a/key'],
    ['GET', '/api/v1/storage/b/a/key'],
    ['DELETE', '/api/v1/storage/b/a/key'],
    ['GET', '/api/v1/storage/b'],
    ['POST', '/api/v1/storage/repair'],
  ])('%s %s says that there is none yet, and what to do', async (method, path) => {
    const { status, body } = await server.admin(method, path);
    expect([status, body.code, body.retryable]).toEqual([503, 'UNAVAILABLE', true]);
    expect(body.hint).toContain('heptad status');
  });

  it('has a status that says so', async () => {
    expect((await server.admin('GET', '/api/v1/storage')).body).toMatchObject({
      health: 'unavailable',
      nodes: [],
    });
  });
});

describe('telemetry', () => {
  it('that comes in by OTLP can be queried and scraped', async () => {
    const timeUnixNano = `${BigInt(Date.now()) * 1_000_000n}`;
    const gauge = { dataPoints: [{ asInt: '42', timeUnixNano, attributes: [] }] };
    const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'orchard' } }] };
    const sent = await server.ask('POST', '/v1/metrics', {
      token: server.nodeToken,
      port: server.config.otlpPort,
      body: {
        resourceMetrics: [
          { resource, scopeMetrics: [{ scope: { name: 'test' }, metrics: [{ name: 'pears', gauge }] }] },
        ],
      },
    });
    expect(sent.status).toBe(200);
    const { body } = await server.admin('GET', '/api/v1/monitoring/query?query=pears');
    expect(body.status).toBe('success');
    expect(body.data.result[0]).toMatchObject({ metric: { __name__: 'pears', service: 'orchard' } });
    expect(body.data.result[0].value[1]).toBe('42');
    expect((await server.admin('GET', '/metrics')).text).toMatch(/^pears\{.*service="orchard".*\} 42/m);
  });
});

describe('the audit log', () => {
  it('has what was done, in pages, and is intact', async () => {
    await server.admin('POST', '/api/v1/keys', { name: 'audited' });
    const first = (await server.admin('GET', '/api/v1/audit?limit=2')).body;
    expect(first.items).toHaveLength(2);
    const next = (await server.admin('GET', `/api/v1/audit?limit=2&cursor=${first.nextCursor}`)).body;
    expect(next.items).toHaveLength(2);
    expect(JSON.stringify(next.items)).not.toBe(JSON.stringify(first.items));
    const verified = (await server.admin('GET', '/api/v1/audit/verify')).body;
    expect(verified).toMatchObject({ intact: true, findings: [] });
    expect(verified.records).toBeGreaterThan(4);
  });
});

describe('Idempotency-Key', () => {
  it('makes a repeated POST answer as the first, over a restart too, and keeps no secret in the open', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const user = { name: 'once', roles: ['viewer'] };
    const first = await server.admin('POST', '/api/v1/users', user, key);
    expect([first.status, first.headers['idempotency-replayed']]).toEqual([201, undefined]);
    const second = await server.admin('POST', '/api/v1/users', user, key);
    expect([second.status, second.headers['idempotency-replayed']]).toEqual([201, 'true']);
    expect(second.body).toEqual(first.body);
    expect(second.headers['content-type']).toBe(first.headers['content-type']);

    const range = { key: '/idempotency/', prefix: true };
    const { text } = await server.admin('POST', '/api/v1/state/range', range);
    expect(text).not.toContain(first.body.password);

    await server.restart();
    expect((await server.admin('POST', '/api/v1/users', user, key)).body).toEqual(first.body);
    expect((await server.admin('POST', '/api/v1/users', user)).status).toBe(409);
  });
});
