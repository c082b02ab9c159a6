// A small platform of figures for looking at the console and testing it in a browser: the API's shapes, no logic.

import type {
  AlertResource,
  CenterResource,
  ContainerResource,
  NodeResource,
  ServiceResource,
} from '@heptad/core';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

interface Named {
  readonly name: string;
}

let made = 0;

function meta(name: string, now: number) {
  made += 1;
  return {
    id: `0198f000-0000-7000-8000-${String(made).padStart(12, '0')}`,
    namespace: 'default',
    name,
    labels: {},
    generation: 1,
    revision: made,
    createdAt: now - 3_600_000,
    finalizers: [],
  } satisfies Named & Record<string, unknown>;
}

function node(name: string, now: number, status: 'Ready' | 'NotReady', used: number): NodeResource {
  return {
    kind: 'Node',
    ...meta(name, now),
    spec: {
      capacity: { cpuMillis: 4000, memoryBytes: 16 * GIB, storageBytes: 200 * GIB, networkMbps: 1000 },
      address: '10.0.0.11',
      zone: 'eu-1a',
      unschedulable: status === 'NotReady',
      draining: false,
    },
    status: {
      status,
      allocated: {
        cpuMillis: 4000 * used,
        memoryBytes: 16 * GIB * used * 0.7,
        storageBytes: 21 * GIB,
        networkMbps: 40,
      },
      heartbeatAt: status === 'Ready' ? now : now - 95_000,
      agentGeneration: 3,
      runtime: { name: 'runc', version: '1.1.5', isolation: 'container', reasons: [] },
      conditions: [],
    },
  };
}

interface ServiceFigures {
  readonly name: string;
  readonly replicas: number;
  readonly ready: number;
  readonly published?: number;
  readonly rollout?: ServiceResource['status']['rollout'];
}

function service(
  { name, replicas, ready, published, rollout }: ServiceFigures,
  now: number,
): ServiceResource {
  const port = { name: 'http', port: 8080, protocol: 'TCP' as const };
  return {
    kind: 'Service',
    ...meta(name, now),
    spec: {
      image: `shop/${name}:1.4.2`,
      replicas,
      resources: {
        requests: { cpuMillis: 250, memoryBytes: 256 * MIB, storageBytes: 0, networkMbps: 0 },
        limits: { cpuMillis: 500, memoryBytes: 512 * MIB },
      },
      ports: [published === undefined ? port : { ...port, published, publishedAddress: '0.0.0.0' }],
      environment: {},
      secretEnvironment: [],
      files: [],
      dependencies: [],
      version: '1.4.2',
      labels: {},
      volumes: [],
      networks: [],
      constraints: [],
      update: {
        maxSurge: 1,
        maxUnavailable: 0,
        minReadyMs: 0,
        progressDeadlineMs: 120_000,
        onFailure: 'rollback',
      },
      restart: { condition: 'always' },
      stopGraceMs: 10_000,
      readOnlyRootfs: false,
      runtime: 'auto',
      trafficMode: 'http',
      facilities: [],
    },
    status: {
      observedGeneration: 1,
      virtualAddress: '10.88.0.3',
      replicas: {
        total: replicas,
        running: ready,
        failed: replicas - ready,
        pending: 0,
        ready,
        updated: ready,
      },
      ...(rollout === undefined ? {} : { rollout }),
      conditions: [],
    },
  };
}

function container(of: ServiceResource, slot: number, now: number): ContainerResource {
  const failed = slot >= of.status.replicas.ready;
  return {
    kind: 'Container',
    ...meta(`${of.name}-${slot}-7f3a`, now),
    spec: {
      service: of.name,
      node: slot === 2 ? 'node-b' : 'node-a',
      slot,
      templateHash: 'a1',
      template: of.spec,
      desired: 'running',
    },
    status: {
      status: failed ? 'Failed' : 'Running',
      observedGeneration: 1,
      isolation: 'container',
      address: `10.87.0.${20 + slot}`,
      ready: !failed,
      restarts: failed ? 4 : 0,
      startedAt: now - 5_400_000 + slot * 60_000,
      message: failed ? 'exited with code 1; restart in 20 s' : 'running',
      conditions: [],
    },
  };
}

function alert(name: string, state: 'inactive' | 'firing', now: number): AlertResource {
  return {
    kind: 'Alert',
    ...meta(name, now),
    spec: {
      expression:
        'sum by (server_address) (rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[1m])) > 1',
      forMs: 60_000,
      severity: 'warning',
      summary: 'more than one failed request a second',
    },
    status: { state, message: '', ...(state === 'firing' ? { since: now - 240_000, value: 2.4 } : {}) },
  };
}

function center(name: string, role: 'primary' | 'backup', now: number): CenterResource {
  return {
    kind: 'Center',
    ...meta(name, now),
    spec: { address: `${name}.example:7070`, preferred: role === 'primary', witness: false },
    status: { role, generation: 4, ...(role === 'backup' ? { lagMs: 120, phi: 0.4 } : {}), message: '' },
  };
}

/** How the made-up platform fares. */
export type Mood = 'good' | 'bad' | 'empty';

/** Everything the API answers with, by path. */
export function fixture(mood: Mood, now: number): Record<string, unknown> {
  const bad = mood === 'bad';
  const figures: ServiceFigures[] = [
    { name: 'web', replicas: 2, ready: 2, published: 8080 },
    { name: 'catalog', replicas: 3, ready: bad ? 2 : 3 },
    {
      name: 'orders',
      replicas: 3,
      ready: bad ? 0 : 3,
      ...(bad
        ? {
            rollout: {
              state: 'rolled-back' as const,
              message: 'replica orders-0 did not become ready within 2m; back to version 1.4.1',
              progressedAt: now,
              templateHash: 'b',
            },
          }
        : {
            rollout: {
              state: 'progressing' as const,
              message: '2 of 3 replicas are updated',
              progressedAt: now,
              templateHash: 'b',
            },
          }),
    },
  ];
  const services = mood === 'empty' ? [] : figures.map((one) => service(one, now));
  const nodes =
    mood === 'empty'
      ? []
      : [node('node-a', now, 'Ready', 0.46), node('node-b', now, bad ? 'NotReady' : 'Ready', 0.9)];
  const recent = Array.from({ length: mood === 'empty' ? 0 : 40 }, (_, index) => ({
    id: String(index),
    at: now - index * 7_300,
    object: index % 3 === 0 ? 'Service/default/orders' : `Container/default/catalog-${index % 3}-7f3a`,
    op: ['bind', 'start', 'scale', 'endpoint-ready'][index % 4],
    because: [
      'node-a has the most room left for 250m CPU and 256 MiB',
      'it is bound here and not running',
      'the service wants 3 replicas and has 2',
      'its readiness probe answered 200',
    ][index % 4],
    source: 'orchestrator',
  }));
  return {
    '/api/v1/services': { items: services },
    '/api/v1/nodes': { items: nodes },
    '/api/v1/containers': {
      items: services.flatMap((one) =>
        Array.from({ length: one.spec.replicas }, (_, slot) => container(one, slot, now)),
      ),
    },
    '/api/v1/alerts': {
      items:
        mood === 'empty'
          ? []
          : [
              alert('failed-requests', bad ? 'firing' : 'inactive', now),
              alert('slow-answers', 'inactive', now),
            ],
    },
    '/api/v1/events/recent': { items: recent },
    '/api/v1/storage': {
      nodes: (mood === 'empty' ? [] : ['s1', 's2', 's3']).map((id, index) => ({
        id,
        address: `127.0.0.1:${7081 + index}`,
        state: bad && id === 's3' ? 'down' : 'up',
        usedBytes: 3.1 * GIB,
        capacityBytes: 20 * GIB,
        objects: 1204,
      })),
      health: mood === 'empty' ? 'unavailable' : bad ? 'degraded' : 'healthy',
      replicationFactor: 3,
      partitions: { total: 256, underReplicated: bad ? 71 : 0 },
      message: mood === 'empty' ? 'there is no storage node yet' : 'healthy',
    },
    '/api/v1/dr/status': {
      centers:
        mood === 'empty'
          ? []
          : [
              center('frankfurt', 'primary', now),
              center('paris', 'backup', now),
              center('warsaw', 'backup', now),
            ],
      ...(mood === 'empty'
        ? {}
        : {
            prediction: {
              probability: bad ? 0.62 : 0.03,
              switchAdvised: false,
              reasons: [],
              because: 'latency is as usual',
            },
          }),
      message:
        mood === 'empty'
          ? 'this platform is a single centre: nothing can take over from it'
          : '3 centres, 2 of them backups; latency is as usual',
    },
  };
}
