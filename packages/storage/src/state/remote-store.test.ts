// RemoteStateStore against the contract's suite, over real HTTP, and through the failures of a network.

import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Clock, type LeaseGrantingStore, MemoryStateStore, systemClock } from '@heptad/core';
import { stateStoreConformance } from '@heptad/core/conformance';
import { describe, expect, it } from 'vitest';
import { RemoteStateStore } from './remote-store.ts';
import { serveStateStore } from './serve.ts';

const NODE = { id: 'node-1', type: 'node', roles: [] } as const;
const ALLOW = { allowed: true, because: ['a test'], auditLevel: 'NONE' } as const;

interface Served extends AsyncDisposable {
  readonly url: string;
  readonly server: Server;
  /** Cuts every connection there is, in the middle of whatever it does. */
  cut(): void;
}

async function serve(
  store: LeaseGrantingStore,
  options: { authorize?: Parameters<typeof serveStateStore>[1]['authorize']; port?: number } = {},
): Promise<Served> {
  const handle = serveStateStore(store, { authorize: options.authorize ?? (() => ALLOW) });
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => void handle(request, response, NODE));
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${port}/api/v1/state`,
    server,
    cut,
    [Symbol.asyncDispose]: async () => {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

describe('RemoteStateStore conforms to StateStore', () => {
  for (const { name, run } of stateStoreConformance) {
    it(name, () =>
      run(async () => {
        const behind = new MemoryStateStore();
        const served = await serve(behind);
        const store = new RemoteStateStore({ url: served.url });
        return {
          store,
          advance: (ms: number) => systemClock.sleep(ms),
          abandonedLease: async (ttlMs: number) => (await store.grantLease({ ttlMs })).id,
          revokeBehind: (id: string) => behind.revokeLease(id),
          [Symbol.asyncDispose]: async () => {
            await store.close();
            await served[Symbol.asyncDispose]();
            await behind.close();
          },
        };
      }),
    );
  }
});

describe('RemoteStateStore over a failing network', () => {
  it('carries a transaction out once when its answer is lost', async () => {
    await using behind = new MemoryStateStore();
    let answersLost = 0;
    const cuts: { cut?: () => void } = {};
    const lossy: LeaseGrantingStore = new Proxy(behind, {
      get(target, property) {
        const value = Reflect.get(target, property, target);
        if (property !== 'txn') return typeof value === 'function' ? value.bind(target) : value;
        return async (txn: Parameters<MemoryStateStore['txn']>[0]) => {
          const result = await target.txn(txn);
          if (answersLost < 2) {
            answersLost += 1;
            cuts.cut?.();
          }
          return result;
        };
      },
    });
    await using served = await serve(lossy);
    cuts.cut = served.cut;
    await using store = new RemoteStateStore({ url: served.url });
    const result = await store.txn({
      compare: [{ key: '/a', target: 'version', is: '=', than: 0 }],
      success: [{ op: 'put', key: '/a', value: '1' }],
    });
    expect(answersLost).toBe(2);
    expect(result.succeeded).toBe(true);
    expect((await behind.range({ key: '/a' })).revision).toBe(1);
  });

  it('says UNKNOWN_OUTCOME, and never UNAVAILABLE, when a sent transaction gets no answer', async () => {
    const server = createServer((request) => request.resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await using store = new RemoteStateStore({ url: `http://127.0.0.1:${port}`, timeoutMs: 300 });
    const put = { compare: [], success: [{ op: 'put', key: '/a', value: '1' }] } as const;
    await expect(store.txn(put)).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME', retryable: false });
    await expect(store.range({ key: '/a' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    server.closeAllConnections();
    server.close();
  });

  it('says UNAVAILABLE when nothing listens', async () => {
    await using store = new RemoteStateStore({ url: 'http://127.0.0.1:1', timeoutMs: 200 });
    const put = { compare: [], success: [{ op: 'put', key: '/a', value: '1' }] } as const;
    await expect(store.txn(put)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  });

  it('waits for a server that comes back', async () => {
    await using behind = new MemoryStateStore();
    const first = await serve(behind);
    const port = (first.server.address() as AddressInfo).port;
    await using store = new RemoteStateStore({ url: first.url });
    await first[Symbol.asyncDispose]();
    const writing = store.txn({ compare: [], success: [{ op: 'put', key: '/a', value: '1' }] });
    await using _second = await serve(behind, { port });
    expect((await writing).revision).toBe(1);
  });

  it('resumes a watch after every cut, without a gap and without a repetition', async () => {
    await using behind = new MemoryStateStore();
    await using served = await serve(behind);
    await using store = new RemoteStateStore({ url: served.url });
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const events of store.watch({ prefix: '/', fromRevision: 1, signal: stop.signal })) {
        for (const event of events) if (event.type === 'put') seen.push(event.kv.value);
        if (seen.length === 200) stop.abort();
      }
    })();
    for (let index = 0; index < 200; index += 1) {
      await behind.txn({
        compare: [],
        success: [{ op: 'put', key: `/k${index % 7}`, value: String(index) }],
      });
      if (index % 20 === 10) {
        await systemClock.sleep(15);
        served.cut();
      }
    }
    await watching;
    expect(seen).toEqual(Array.from({ length: 200 }, (_, index) => String(index)));
  });

  it('tells the holder that a lease is lost while the server is away, although it has not ended there', async () => {
    // Time stands still at the server: the holder must judge by its own clock alone.
    const still: Clock = {
      now: () => 0,
      monotonicMs: () => 0,
      sleep: (ms, signal) => systemClock.sleep(ms, signal),
      timer: () => ({ cancel: () => {} }),
      interval: () => ({ cancel: () => {} }),
    };
    await using behind = new MemoryStateStore({ clock: still });
    const served = await serve(behind);
    await using store = new RemoteStateStore({ url: served.url });
    const lease = await store.lease({ ttlMs: 400 });
    await store.txn({ compare: [], success: [{ op: 'put', key: '/held', value: 'x', leaseId: lease.id }] });
    const heldWhenLost = new Promise<number>((resolve) => {
      lease.lost.addEventListener('abort', () => {
        void behind.range({ key: '/held' }).then(({ kvs }) => resolve(kvs.length));
      });
    });
    await served[Symbol.asyncDispose]();
    expect(await heldWhenLost).toBe(1);
  });
});

describe('serveStateStore', () => {
  it('refuses what authorize denies, for each key a transaction touches, and does nothing of it', async () => {
    await using behind = new MemoryStateStore();
    const authorize = (_: unknown, access: { verb: string; keys: readonly { key: string }[] }) => ({
      allowed: access.verb === 'read' || access.keys.every(({ key }) => key.startsWith('/mine/')),
      because: [],
      auditLevel: 'NONE' as const,
    });
    await using served = await serve(behind, { authorize });
    await using store = new RemoteStateStore({ url: served.url });
    const put = (key: string) => ({ op: 'put', key, value: '1' }) as const;
    await expect(
      store.txn({ compare: [], success: [put('/mine/a'), put('/other/b')] }),
    ).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    await expect(
      store.txn({ compare: [], success: [], failure: [{ op: 'delete', key: '', prefix: true }] }),
    ).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    expect((await store.txn({ compare: [], success: [put('/mine/a')] })).revision).toBe(1);
  });

  it('answers garbage, wrong paths and wrong methods with problems', async () => {
    await using behind = new MemoryStateStore();
    await using served = await serve(behind);
    const post = async (path: string, body: string, method = 'POST') => {
      const response = await fetch(`${served.url}${path}`, method === 'GET' ? {} : { method, body });
      const { code } = (await response.json()) as { code: string };
      return [response.status, response.headers.get('content-type'), code];
    };
    const problem = 'application/problem+json';
    expect(await post('/txn', '{')).toEqual([400, problem, 'INVALID_ARGUMENT']);
    expect(await post('/txn', '{"compare":1}')).toEqual([400, problem, 'INVALID_ARGUMENT']);
    expect(await post('/range', '{"key":"/a","extra":1}')).toEqual([400, problem, 'INVALID_ARGUMENT']);
    expect(await post('/nothing', '{}')).toEqual([404, problem, 'NOT_FOUND']);
    expect(await post('/range', '', 'GET')).toEqual([405, problem, 'METHOD_NOT_ALLOWED']);
  });
});
