// RemoteObjectStore against the platform's own routes over real storage nodes: the contract's suite.

import './support/require-ws.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStateStore } from '@heptad/core';
import { objectStoreConformance } from '@heptad/core/conformance';
import { DistributedStorage, RemoteObjectStore, StorageNode } from '@heptad/storage';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { buildApp } from '../src/server/app.ts';
import { storageRoutes } from '../src/server/routes/storage.ts';

const TOKEN = 'a-token-of-the-test';

async function harness() {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'heptad-objects-'));
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const node = made.use(
    await StorageNode.start({
      id: 'one',
      directory,
      host: '127.0.0.1',
      port: 0,
      token: TOKEN,
      capacityBytes: 1024 ** 3,
    }),
  );
  const objects = made.use(
    new DistributedStorage({
      nodes: [{ id: 'one', address: node.address }],
      token: TOKEN,
      replicationFactor: 1,
      stateStore: made.use(new MemoryStateStore()),
    }),
  );
  const app = await buildApp(
    {
      authenticate: async () => ({ id: 'tester', type: 'service', roles: ['service'] }),
      admit: async () => {},
      admitAnonymous: () => {},
    },
    pino({ level: 'silent' }),
  );
  storageRoutes(app, { storage: { objects: () => objects } } as never);
  made.defer(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const store = made.use(new RemoteObjectStore({ url: `${url}/api/v1/storage`, token: TOKEN }));
  const moved = made.move();
  return { store, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

describe('RemoteObjectStore', () => {
  for (const { name, run } of objectStoreConformance) it(name, async () => run(harness));

  it('keeps metadata that no header could hold', async () => {
    await using made = await harness();
    const metadata = { Größe: '3 €', 'Two Words': 'line\nbreak' };
    await made.store.put('data', 'k', 'x', { metadata });
    expect((await made.store.head('data', 'k')).metadata).toEqual(metadata);
  });

  it('says UNAVAILABLE when nobody listens', async () => {
    await using store = new RemoteObjectStore({ url: 'http://127.0.0.1:1/api/v1/storage', patienceMs: 0 });
    await expect(store.get('data', 'k')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.put('data', 'k', 'x')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
