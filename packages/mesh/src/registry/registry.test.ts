import { type EndpointSet, MemoryStateStore, Resources } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { ServiceRegistry } from './service-registry.ts';

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await wait(5);
}

describe('ServiceRegistry', () => {
  it('shows what is registered, with all of its data, until it leaves', async () => {
    await using store = new MemoryStateStore();
    await using registry = new ServiceRegistry({ store });
    const registration = await registry.register({
      service: 'web',
      address: '10.0.0.9',
      ports: { http: 8080, admin: 9000 },
      version: '2',
      weight: 3,
      zone: 'eu',
      labels: { disk: 'ssd' },
    });
    const { endpoints } = await registry.discover('web');
    expect(endpoints).toEqual([
      {
        id: registration.id,
        address: '10.0.0.9',
        ports: { http: 8080, admin: 9000 },
        version: '2',
        weight: 3,
        zone: 'eu',
        state: 'ready',
      },
    ]);
    expect((await new Resources(store, 'Endpoint').get(registration.id)).spec.labels).toEqual({
      disk: 'ssd',
    });
    await registration.drain();
    expect((await registry.discover('web')).endpoints[0]?.state).toBe('draining');
    await registration.close();
    expect((await registry.discover('web')).endpoints).toEqual([]);
  });

  it('an unknown service is an empty set, not an error', async () => {
    await using store = new MemoryStateStore();
    await using registry = new ServiceRegistry({ store });
    expect((await registry.discover('nobody')).endpoints).toEqual([]);
    expect((await registry.catalog.resolve('nobody')).endpoints).toEqual([]);
  });

  it('heartbeats keep it beyond its time to live; a process that dies vanishes after it', async () => {
    await using store = new MemoryStateStore();
    await using registry = new ServiceRegistry({ store });
    await registry.register({ service: 'web', address: '10.0.0.1', ports: { http: 1 }, ttlMs: 1_000 });
    // What a killed process leaves: an endpoint on a lease nobody keeps alive.
    const orphan = await store.grantLease({ ttlMs: 1_000 });
    const spec = { service: 'web', address: '10.0.0.2', ports: { http: 1 } };
    await new Resources(store, 'Endpoint').apply(
      { name: 'dead', spec, status: { state: 'ready' } },
      { leaseId: orphan.id },
    );
    expect((await registry.discover('web')).endpoints).toHaveLength(2);
    await until(async () => (await registry.discover('web')).endpoints.length === 1);
    await wait(1_500);
    expect((await registry.discover('web')).endpoints.map((endpoint) => endpoint.address)).toEqual([
      '10.0.0.1',
    ]);
  });

  it('registers again when its lease is lost', async () => {
    await using store = new MemoryStateStore();
    const errors: unknown[] = [];
    await using registry = new ServiceRegistry({ store, onError: (error) => errors.push(error) });
    const registration = await registry.register({
      service: 'web',
      address: '10.0.0.1',
      ports: { http: 1 },
      ttlMs: 1_000,
    });
    const key = (await store.range({ key: '/resources/Endpoint/', prefix: true })).kvs[0];
    await store.revokeLease(key?.leaseId ?? '');
    expect((await registry.discover('web')).endpoints).toEqual([]);
    await until(async () => (await registry.discover('web')).endpoints.length === 1);
    expect((await registry.discover('web')).endpoints[0]?.id).toBe(registration.id);
    expect(errors).toMatchObject([{ code: 'LEASE_LOST' }]);
    expect(registration.alive).toBe(true);
  });

  it('watch gives the present set, then each change of that service only', async () => {
    await using store = new MemoryStateStore();
    await using registry = new ServiceRegistry({ store });
    const stop = new AbortController();
    const sets: EndpointSet[] = [];
    const watching = (async () => {
      for await (const set of registry.watch('web', stop.signal)) sets.push(set);
    })();
    await until(() => sets.length === 1);
    await registry.register({ service: 'other', address: '10.0.0.1', ports: { http: 1 } });
    const web = await registry.register({ service: 'web', address: '10.0.0.2', ports: { http: 1 } });
    await until(() => sets.length === 2);
    await web.close();
    await until(() => sets.length === 3);
    stop.abort();
    await watching;
    expect(sets.map((set) => set.endpoints.length)).toEqual([0, 1, 0]);
  });

  it('refuses what cannot work, naming it', async () => {
    await using store = new MemoryStateStore();
    await using registry = new ServiceRegistry({ store });
    const register = (change: object): Promise<unknown> =>
      registry.register({ service: 'web', address: '10.0.0.1', ports: { http: 1 }, ...change });
    await expect(register({ ports: {} })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(register({ ttlMs: 10 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(register({ ports: { http: 70_000 } })).rejects.toMatchObject({ code: 'INVALID_RESOURCE' });
    await expect(register({ service: 'Not A Name' })).rejects.toMatchObject({ code: 'INVALID_RESOURCE' });
    await registry.close();
    await expect(register({})).rejects.toMatchObject({ code: 'REGISTRY_CLOSED' });
  });
});
