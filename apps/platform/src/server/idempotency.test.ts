import { MemoryStateStore, type Principal, systemRandom } from '@heptad/core';
import { KeyManager } from '@heptad/security';
import fastify from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { App } from './app.ts';
import { Idempotency } from './idempotency.ts';
import { toProblem } from './problem.ts';

let store: MemoryStateStore;
let keys: KeyManager;
const apps: App[] = [];

beforeEach(() => {
  store = new MemoryStateStore();
  keys = KeyManager.inMemory();
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
  await store.close();
});

/** One run of a server: `POST /do` does what `work` says, as whoever `x-user` names. */
function run(work: (body: unknown) => Promise<{ status: number; answer: unknown }>): App {
  const app = fastify() as unknown as App;
  app.decorateRequest('principal', undefined);
  app.addHook('onRequest', async (request) => {
    const principal: Principal = { id: String(request.headers['x-user']), type: 'user', roles: [] };
    request.principal = principal;
  });
  app.setErrorHandler((error, _request, reply) => {
    const problem = toProblem(error);
    return reply.status(problem.status).send(problem);
  });
  new Idempotency({ store, keys, random: systemRandom, now: () => Date.now() }).install(app);
  app.post('/do', async (request, reply) => {
    const { status, answer } = await work(request.body);
    return reply.status(status).send(answer);
  });
  app.post('/raw', { config: { rawBody: true } }, async () => ({ raw: true }));
  apps.push(app);
  return app;
}

async function post(
  app: App,
  ask: { key?: string; user?: string; body?: object; url?: string },
): Promise<{ status: number; body: Record<string, unknown>; replayed: boolean }> {
  const { key, user = 'ada', body = { a: 1 }, url = '/do' } = ask;
  const headers = { 'x-user': user, ...(key === undefined ? {} : { 'idempotency-key': key }) };
  const answer = await app.inject({ method: 'POST', url, headers, payload: body });
  const replayed = answer.headers['idempotency-replayed'] === 'true';
  return { status: answer.statusCode, body: answer.json(), replayed };
}

/** Work that counts. */
function counting(): { work: () => Promise<{ status: number; answer: unknown }>; done: () => number } {
  let count = 0;
  return {
    work: async () => {
      count += 1;
      return { status: 201, answer: { count } };
    },
    done: () => count,
  };
}

describe('the same key', () => {
  it('does the work once and gives its answer again', async () => {
    const { work, done } = counting();
    const app = run(work);
    expect(await post(app, { key: 'k' })).toEqual({ status: 201, body: { count: 1 }, replayed: false });
    expect(await post(app, { key: 'k' })).toEqual({ status: 201, body: { count: 1 }, replayed: true });
    expect(done()).toBe(1);
  });

  it('with another body or query is refused', async () => {
    const { work, done } = counting();
    const app = run(work);
    await post(app, { key: 'k' });
    for (const other of [{ body: { a: 2 } }, { url: '/do?dry=1' }])
      expect(await post(app, { key: 'k', ...other })).toMatchObject({
        status: 422,
        body: { code: 'IDEMPOTENCY_KEY_REUSED' },
      });
    expect(done()).toBe(1);
  });

  it('of somebody else is another key, and none is none', async () => {
    const { work, done } = counting();
    const app = run(work);
    await post(app, { key: 'k', user: 'ada' });
    expect((await post(app, { key: 'k', user: 'bob' })).body).toEqual({ count: 2 });
    await post(app, {});
    await post(app, {});
    expect(done()).toBe(4);
  });

  it('is nothing to routes that read their body themselves', async () => {
    const app = run(counting().work);
    expect((await post(app, { key: 'k', url: '/raw' })).replayed).toBe(false);
    expect((await post(app, { key: 'k', url: '/raw' })).replayed).toBe(false);
  });

  it.each(['', 'with space', 'x'.repeat(256)])('%j is refused', async (key) => {
    expect((await post(run(counting().work), { key })).status).toBe(400);
  });

  it('lets a refusal stand and a failure be tried again', async () => {
    const statuses = [404, 200];
    const refusing = run(async () => ({ status: statuses.shift() ?? 0, answer: {} }));
    expect((await post(refusing, { key: 'refused' })).status).toBe(404);
    expect(await post(refusing, { key: 'refused' })).toMatchObject({ status: 404, replayed: true });
    const failures = [503, 200];
    const failing = run(async () => ({ status: failures.shift() ?? 0, answer: {} }));
    expect((await post(failing, { key: 'failed' })).status).toBe(503);
    expect(await post(failing, { key: 'failed' })).toMatchObject({ status: 200, replayed: false });
  });
});

describe('two at the same time', () => {
  it('do the work once; the other is told to wait, also by the next run of the server', async () => {
    const { work, done } = counting();
    const started = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const app = run(async () => {
      started.resolve();
      await finish.promise;
      return work();
    });
    const first = post(app, { key: 'k' });
    await started.promise;
    expect((await post(app, { key: 'k' })).body).toMatchObject({
      code: 'IDEMPOTENCY_KEY_BUSY',
      retryable: true,
    });
    // Another run does not know whether the first got to do it: it must not do it again.
    const next = run(work);
    expect((await post(next, { key: 'k' })).body).toMatchObject({
      code: 'UNKNOWN_OUTCOME',
      retryable: false,
    });
    finish.resolve();
    expect((await first).body).toEqual({ count: 1 });
    expect(await post(next, { key: 'k' })).toMatchObject({ body: { count: 1 }, replayed: true });
    expect(done()).toBe(1);
  });
});

describe('what is kept', () => {
  it('is sealed, on a lease, and bounded', async () => {
    const app = run(async (body) => ({ status: 200, answer: { password: 'pear-secret', body } }));
    await post(app, { key: 'k' });
    const { kvs } = await store.range({ key: '', prefix: true });
    expect(kvs).toHaveLength(1);
    expect(kvs[0]?.leaseId).toBeDefined();
    expect(JSON.stringify(kvs)).not.toContain('pear-secret');

    const large = run(async () => ({ status: 200, answer: { text: 'x'.repeat(300_000) } }));
    expect((await post(large, { key: 'large' })).status).toBe(200);
    expect((await post(large, { key: 'large' })).body).toMatchObject({ code: 'UNKNOWN_OUTCOME' });
  });
});
