import { Election } from '@heptad/core';
import { RemoteStateStore } from '@heptad/storage/state';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { serviceSpecOf, TestServer } from './support/server.ts';

interface Route {
  readonly method: string;
  readonly url: string;
  readonly otlp: boolean;
}

// The real application, with an ear at its routes: those that /openapi.json hides must be found as well.
const heard = vi.hoisted(() => ({ applications: [] as { method: string; url: string }[][] }));
vi.mock('../src/server/app.ts', async (original) => {
  const real = await original<typeof import('../src/server/app.ts')>();
  return {
    ...real,
    buildApp: async (...args: Parameters<typeof real.buildApp>) => {
      const app = await real.buildApp(...args);
      const routes: { method: string; url: string }[] = [];
      heard.applications.push(routes);
      app.addHook('onRoute', ({ method, url }) => {
        for (const one of [method].flat()) routes.push({ method: one, url });
      });
      return app;
    },
  };
});

const PUBLIC = [
  'GET /',
  'GET /assets/*',
  'GET /healthz',
  'GET /openapi.json',
  'GET /readyz',
  'POST /api/v1/auth/login',
  'POST /api/v1/auth/refresh',
];
/** Writes by their method that change nothing but one's own session. */
const FOR_VIEWERS = ['POST /api/v1/plan', 'POST /api/v1/auth/logout'];

let server: TestServer;
let routes: Route[];

beforeAll(async () => {
  server = await TestServer.start();
  routes = heard.applications.flatMap((application, index) =>
    application.map(({ method, url }) => ({ method, url, otlp: index === 1 })),
  );
});
afterAll(() => server[Symbol.asyncDispose]());

const nameOf = ({ method, url }: Route): string => `${method === 'HEAD' ? 'GET' : method} ${url}`;
const isPublic = (route: Route): boolean => PUBLIC.includes(nameOf(route));

function pathOf({ url }: Route): string {
  return url.replaceAll(/:\w+/g, 'some').replace('*', 'range');
}

/** Requests without a token are limited by address: each comes from another one. */
function addressOf(index: number): string {
  return `127.1.${Math.floor(index / 250)}.${(index % 250) + 1}`;
}

describe('every route', () => {
  it('is known to this test', async () => {
    const { body } = await server.ask('GET', '/openapi.json');
    const documented = Object.entries<Record<string, unknown>>(body.paths).flatMap(([path, verbs]) =>
      Object.keys(verbs).map((verb) => `${verb.toUpperCase()} ${path}`),
    );
    const known = routes.map((route) => `${route.method} ${route.url.replaceAll(/:(\w+)|(\*)/g, '{$1$2}')}`);
    expect(documented.filter((name) => !known.includes(name))).toEqual([]);
    expect(documented.length).toBeGreaterThan(50);
    expect(known.length).toBeGreaterThan(documented.length);
    expect(routes.filter(({ otlp }) => otlp).map(({ url }) => url)).toEqual([
      '/v1/traces',
      '/v1/metrics',
      '/v1/logs',
    ]);
  });

  it('refuses a request without a token, but for those that must be open', async () => {
    const open: string[] = [];
    for (const [index, route] of routes.entries()) {
      const { status, headers, body } = await server.ask(route.method, pathOf(route), {
        from: addressOf(index),
        ...(route.otlp ? { port: server.config.otlpPort } : {}),
      });
      if (isPublic(route)) {
        open.push(nameOf(route));
        continue;
      }
      expect([nameOf(route), status]).toEqual([nameOf(route), 401]);
      expect(headers['content-type']).toContain('application/problem+json');
      if (route.method !== 'HEAD')
        expect(body).toMatchObject({ code: 'UNAUTHENTICATED', hint: expect.stringContaining('Bearer') });
    }
    // The console's assets are served only where it is built.
    expect([...new Set([...open, 'GET /assets/*'])].sort()).toEqual(PUBLIC);
  });

  it('refuses a token that is none', async () => {
    for (const [index, route] of routes.filter((one) => !isPublic(one)).entries()) {
      const { status } = await server.ask(route.method, pathOf(route), {
        token: 'hpt_0123456789abcdef0123456789abcdef',
        from: addressOf(index),
        ...(route.otlp ? { port: server.config.otlpPort } : {}),
      });
      expect([nameOf(route), status]).toEqual([nameOf(route), 401]);
    }
  });

  it('refuses a viewer everything that changes something', async () => {
    const { accessToken } = await server.person('vera', 'viewer');
    let refused = 0;
    for (const route of routes) {
      if (route.method === 'GET' || route.method === 'HEAD') continue;
      if (isPublic(route) || FOR_VIEWERS.includes(nameOf(route))) continue;
      const { status, body } = await server.ask(route.method, pathOf(route), {
        token: accessToken,
        ...(route.otlp ? { port: server.config.otlpPort } : {}),
      });
      expect([nameOf(route), status]).toEqual([nameOf(route), 403]);
      expect(body).toMatchObject({ code: 'FORBIDDEN', hint: expect.stringContaining('viewer') });
      refused += 1;
    }
    expect(refused).toBeGreaterThan(30);
  });

  it.each(['/api/v1/users', '/api/v1/keys', '/api/v1/auth/token', '/api/v1/audit', '/api/v1/logs'])(
    'of secrets, GET %s, is not for viewers either',
    async (path) => {
      const { accessToken } = await server.person(`vera${path.replaceAll(/\W/g, '-')}`, 'viewer');
      expect((await server.ask('GET', path, { token: accessToken })).status).toBe(403);
      expect((await server.ask('GET', '/api/v1/services', { token: accessToken })).status).toBe(200);
    },
  );
});

describe('a login', () => {
  it('gives tokens that work until it is ended', async () => {
    const { username, password } = server.firstAdmin;
    const login = await server.ask('POST', '/api/v1/auth/login', { body: { username, password } });
    expect(login.status).toBe(200);
    const token: string = login.body.accessToken;
    const self = await server.ask('GET', '/api/v1/auth/self', { token });
    expect(self.body).toMatchObject({ id: username, type: 'user', roles: ['admin'] });
    expect((await server.ask('POST', '/api/v1/auth/logout', { token })).status).toBe(204);
    expect((await server.ask('GET', '/api/v1/auth/self', { token })).status).toBe(401);
    const refresh = { body: { refreshToken: login.body.refreshToken } };
    expect((await server.ask('POST', '/api/v1/auth/refresh', refresh)).status).toBe(401);
  });

  it('can be refreshed, and ends when a refresh token is used twice', async () => {
    const { refreshToken } = await server.person('rita', 'viewer');
    const refresh = () =>
      server.ask('POST', '/api/v1/auth/refresh', { body: { refreshToken }, from: '127.0.2.1' });
    const first = await refresh();
    const token: string = first.body.accessToken;
    expect((await server.ask('GET', '/api/v1/auth/self', { token })).status).toBe(200);
    expect(await refresh()).toMatchObject({ status: 401, body: { code: 'TOKEN_REUSED' } });
    expect((await server.ask('GET', '/api/v1/auth/self', { token })).status).toBe(401);
  });

  it('with a wrong password says nothing about who there is', async () => {
    const answers = await Promise.all(
      ['admin', 'nobody'].map((username) =>
        server.ask('POST', '/api/v1/auth/login', {
          body: { username, password: 'wrong-password-1' },
          from: '127.0.2.2',
        }),
      ),
    );
    for (const { status, body } of answers) {
      expect([status, body.code]).toEqual([401, 'AUTHENTICATION_FAILED']);
      expect(body.hint).toBeDefined();
    }
    expect(answers[0]?.body.detail.replace('admin', 'X')).toBe(
      answers[1]?.body.detail.replace('nobody', 'X'),
    );
  });

  it('is the end of the last administrator never', async () => {
    const { username } = server.firstAdmin;
    const answer = await server.admin('DELETE', `/api/v1/users/${username}`);
    expect(answer).toMatchObject({ status: 409, body: { code: 'LAST_ADMIN' } });
    await server.person('second', 'admin');
    expect((await server.admin('DELETE', '/api/v1/users/second')).status).toBe(204);
    expect((await server.admin('DELETE', `/api/v1/users/${username}`)).status).toBe(409);
  });
});

describe('who asks too often', () => {
  it.each([
    ['without a token', '127.0.3.1', {}],
    ['with tokens that are none', '127.0.3.3', { token: 'hpt_0123456789abcdef0123456789abcdef' }],
  ])('%s is told when to come again', async (_how, from, credentials) => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, () => server.ask('GET', '/api/v1/services', { from, ...credentials })),
    );
    const limited = answers.filter(({ status }) => status === 429);
    expect(limited.length).toBeGreaterThan(0);
    expect(Number(limited[0]?.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(limited[0]?.body).toMatchObject({ code: 'RATE_LIMITED', retryable: true });
    expect(limited[0]?.body.hint).toMatch(/try again in \d+ s/);
    // Others are not held up by it.
    expect((await server.ask('GET', '/api/v1/services', { from: '127.0.3.2' })).status).toBe(401);
  });
});

describe("a service's token", () => {
  const tokenOf = async (service: string, facilities: string[]): Promise<string> => {
    const { body } = await server.ask('POST', '/api/v1/nodes/node-1/workload-tokens', {
      token: server.nodeToken,
      body: { container: `${service}-1`, service, facilities },
    });
    return body.token;
  };
  const range = (token: string, key: string, more: object = {}) =>
    server.ask('POST', '/api/v1/state/range', { token, body: { key, ...more } });

  it('is given to nodes only', async () => {
    const body = { container: 'a-1', service: 'a', facilities: [] };
    expect((await server.admin('POST', '/api/v1/nodes/node-1/workload-tokens', body)).status).toBe(403);
  });

  it('wins elections named after the service', async () => {
    const token = await tokenOf('orders', ['election']);
    await using store = new RemoteStateStore({ url: `${server.url}/api/v1/state`, token });
    const election = new Election({ store, name: 'orders-master', candidate: 'orders-1' });
    const leadership = await election.campaign();
    expect(leadership.token).toBeGreaterThan(0);
    for await (const leader of election.observe()) {
      expect(leader?.candidate).toBe('orders-1');
      break;
    }
    await leadership.resign();
  });

  it('reaches no other keys', async () => {
    const token = await tokenOf('orders', ['election']);
    expect((await range(token, '/elections/orders')).status).toBe(200);
    await server.admin('PUT', '/api/v1/services/orders-archive', { spec: serviceSpecOf() });
    const denied = [
      range(token, '/elections/billing'),
      range(token, '/elections/ordersX'),
      range(token, '/elections/orders-archive'),
      range(token, '/resources/', { prefix: true }),
      range(token, '/apps/orders/', { end: '/z' }),
      range(token, '', { prefix: true }),
      server.ask('POST', '/api/v1/state/watch', { token, body: { prefix: '/' } }),
      server.ask('POST', '/api/v1/state/compact', { token, body: { revision: 1 } }),
      server.ask('POST', '/api/v1/state/txn', {
        token,
        body: { compare: [], success: [{ op: 'delete', key: '/', prefix: true }] },
      }),
    ];
    for (const { status, headers, body } of await Promise.all(denied)) {
      expect([status, body.code]).toEqual([403, 'ACCESS_DENIED']);
      expect(headers['content-type']).toBe('application/problem+json');
    }
  });

  it('does only what its facilities need', async () => {
    const token = await tokenOf('quiet', ['telemetry']);
    expect((await range(token, '/elections/quiet')).status).toBe(403);
    expect((await server.ask('GET', '/api/v1/services', { token })).status).toBe(403);
    expect((await server.ask('GET', '/api/v1/auth/self', { token })).body.id).toBe('quiet');
  });
});
