import {
  type ContainerResource,
  MemoryStateStore,
  type MeshSnapshot,
  Resources,
  type ServiceSpec,
} from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { compileSnapshot } from './compile.ts';
import { watchMeshSnapshot } from './watch.ts';

const template: ServiceSpec = {
  image: 'web',
  replicas: 1,
  resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
  ports: [
    { name: 'http', port: 8080, protocol: 'TCP', published: 80 },
    { name: 'admin', port: 9000, protocol: 'TCP' },
  ],
  environment: {},
  secretEnvironment: [],
  files: [],
  dependencies: [],
  version: '1',
  labels: { tier: 'front' },
  volumes: [],
  networks: [],
  constraints: [],
  update: { maxSurge: 1, maxUnavailable: 0, minReadyMs: 0, progressDeadlineMs: 1_000, onFailure: 'rollback' },
  restart: { condition: 'always' },
  stopGraceMs: 0,
  readOnlyRootfs: false,
  runtime: 'auto',
  trafficMode: 'http',
  facilities: [],
};

async function fill(store: MemoryStateStore): Promise<void> {
  const services = new Resources(store, 'Service');
  await services.apply({ name: 'web', spec: template });
  await services.updateStatus('web', ({ status }) => ({ ...status, virtualAddress: '10.88.0.7' }));
  await new Resources(store, 'Endpoint').apply({
    name: 'web-0',
    spec: { service: 'web', address: '10.87.0.5', ports: { http: 8080 }, version: '1' },
    status: { state: 'ready' },
  });
  const containers = new Resources(store, 'Container');
  await containers.apply({
    name: 'web-0',
    spec: { service: 'web', node: 'n1', slot: 0, templateHash: 'x', template, desired: 'running' },
  });
  await containers.updateStatus('web-0', ({ status }) => ({
    ...status,
    status: 'Running',
    address: '10.87.0.5',
  }));
}

async function read(store: MemoryStateStore): Promise<Parameters<typeof compileSnapshot>[0]> {
  const list = async <K extends 'Service' | 'Endpoint' | 'NetworkPolicy' | 'TrafficRule' | 'Container'>(
    kind: K,
  ) => (await new Resources(store, kind).list()).items;
  return {
    revision: 9,
    services: await list('Service'),
    endpoints: await list('Endpoint'),
    policies: await list('NetworkPolicy'),
    rules: await list('TrafficRule'),
    containers: await list('Container'),
  };
}

describe('compileSnapshot', () => {
  it('brings services, ports, endpoints and workloads together', async () => {
    await using store = new MemoryStateStore();
    await fill(store);
    expect(compileSnapshot(await read(store))).toEqual({
      revision: 9,
      services: [
        {
          name: 'web',
          virtualAddress: '10.88.0.7',
          ports: [
            { name: 'http', port: 8080, protocol: 'TCP', published: { address: '127.0.0.1', port: 80 } },
            { name: 'admin', port: 9000, protocol: 'TCP' },
          ],
          labels: { tier: 'front' },
          mode: 'http',
        },
      ],
      endpoints: [
        {
          service: 'web',
          version: 9,
          endpoints: [
            {
              id: 'web-0',
              address: '10.87.0.5',
              ports: { http: 8080 },
              weight: 1,
              state: 'ready',
              version: '1',
            },
          ],
        },
      ],
      policies: [],
      rules: [],
      workloads: { '10.87.0.5': { service: 'web', labels: { tier: 'front' } } },
    });
  });

  it('an endpoint whose container is leaving drains before anybody says so', async () => {
    await using store = new MemoryStateStore();
    await fill(store);
    const resources = await read(store);
    const state = (
      change: Partial<ContainerResource> | { spec: ContainerResource['spec'] },
    ): string | undefined => {
      const containers = [...resources.containers].map((container) => ({ ...container, ...change }));
      return compileSnapshot({ ...resources, containers }).endpoints[0]?.endpoints[0]?.state;
    };
    const spec = [...resources.containers][0]?.spec as ContainerResource['spec'];
    expect(state({})).toBe('ready');
    expect(state({ deletedAt: 1 })).toBe('draining');
    expect(state({ spec: { ...spec, desired: 'stopped' } })).toBe('draining');
    expect(state({ spec: { ...spec, drainUntil: 5 } })).toBe('draining');
  });

  it('an address is nobody’s once its container has ended, so that it cannot lend its rights to the next', async () => {
    await using store = new MemoryStateStore();
    await fill(store);
    await new Resources(store, 'Container').updateStatus('web-0', ({ status }) => ({
      ...status,
      status: 'Failed',
    }));
    expect(compileSnapshot(await read(store)).workloads).toEqual({});
  });
});

describe('watchMeshSnapshot', () => {
  it('yields the present, then each change that matters, and ends with its signal', async () => {
    await using store = new MemoryStateStore();
    await fill(store);
    const stop = new AbortController();
    const seen: MeshSnapshot[] = [];
    const watching = (async () => {
      for await (const snapshot of watchMeshSnapshot(store, { signal: stop.signal })) seen.push(snapshot);
    })();
    const until = async (count: number): Promise<void> => {
      while (seen.length < count) await new Promise((resolve) => setTimeout(resolve, 2));
    };
    await until(1);
    await new Resources(store, 'Endpoint').updateStatus('web-0', () => ({ state: 'draining' }));
    await until(2);
    expect(seen[1]?.endpoints[0]?.endpoints[0]?.state).toBe('draining');
    // A node's heartbeat or a restart count is nothing to the data plane.
    await new Resources(store, 'Container').updateStatus('web-0', ({ status }) => ({
      ...status,
      restarts: 5,
    }));
    await new Resources(store, 'NetworkPolicy').apply({ name: 'p', spec: { selector: {}, ingress: [] } });
    await until(3);
    expect(seen[2]?.policies.map((policy) => policy.name)).toEqual(['p']);
    expect(seen).toHaveLength(3);
    stop.abort();
    await watching;
  });

  it('goes on after its place in history was compacted away', async () => {
    await using store = new MemoryStateStore();
    await fill(store);
    const stop = new AbortController();
    const stream = watchMeshSnapshot(store, { signal: stop.signal });
    await stream.next();
    const { revision } = await store.range({ key: '', prefix: true });
    await store.compact(revision);
    await new Resources(store, 'Endpoint').remove('web-0');
    const { value } = await stream.next();
    expect(value?.endpoints).toEqual([]);
    stop.abort();
    expect((await stream.next()).done).toBe(true);
  });
});
