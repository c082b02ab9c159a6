import type { ContainerResource, NodeResource, ServiceResource, ServiceSpec } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { validateService } from '../control/validate.ts';
import { CONTAINER_LABEL, SERVICE_FINALIZER, templateHash } from './identity.ts';
import { OrchestrationPlanner } from './planner.ts';
import { type ClusterState, Draft, emptyState } from './state.ts';
import { applyStep, type OrchestratorStep } from './steps.ts';
import { isAvailable } from './view.ts';

const NOTHING = { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 };
const T0 = 1_800_000_000_000;
const planner = new OrchestrationPlanner({ drainMs: 1_000 });

function spec(change: Partial<ServiceSpec> = {}): ServiceSpec {
  const base = validateService('web', {
    image: 'web:1',
    replicas: 3,
    resources: { requests: { ...NOTHING, cpuMillis: 100 }, limits: {} },
    ports: [{ name: 'http', port: 80 }],
    environment: {},
    dependencies: [],
    labels: {},
    volumes: [],
  });
  return { ...base, ...change };
}

function service(name: string, wanted: ServiceSpec): ServiceResource {
  return {
    kind: 'Service',
    id: '01890000-0000-7000-8000-000000000001',
    namespace: 'default',
    name,
    labels: {},
    spec: wanted,
    status: {
      observedGeneration: 0,
      replicas: { total: 0, running: 0, failed: 0, pending: 0, ready: 0, updated: 0 },
      conditions: [],
    },
    generation: 1,
    revision: 1,
    createdAt: T0,
    finalizers: [SERVICE_FINALIZER],
  };
}

function node(name: string, cpuMillis = 4_000): NodeResource {
  return {
    kind: 'Node',
    id: '01890000-0000-7000-8000-000000000002',
    namespace: 'default',
    name,
    labels: {},
    spec: { capacity: { ...NOTHING, cpuMillis }, address: '10.0.0.1', unschedulable: false, draining: false },
    status: { status: 'Ready', allocated: NOTHING, heartbeatAt: T0, agentGeneration: 1, conditions: [] },
    generation: 1,
    revision: 1,
    createdAt: T0,
    finalizers: [],
  };
}

/** A cluster whose agents do at once what they are told, as far as the test lets them. */
class SimulatedCluster {
  state: Draft;
  now = T0;

  constructor(nodes: readonly NodeResource[]) {
    this.state = new Draft(emptyState());
    for (const one of nodes) this.state.put('Node', one);
    this.beat(nodes.map((one) => one.name));
  }

  /** A base state with heartbeats of the nodes named at the present. */
  beat(names: readonly string[]): void {
    const heartbeats = new Map(this.state.heartbeats);
    for (const name of names) heartbeats.set(name, this.now);
    const base: ClusterState = { ...view(this.state), heartbeats };
    this.state = new Draft(base);
    for (const name of names) {
      const resource = this.state.nodes.get(name);
      if (resource !== undefined && resource.status.status !== 'Ready') {
        this.state.put('Node', { ...resource, status: { ...resource.status, status: 'Ready' } });
      }
    }
  }

  deploy(name: string, wanted: ServiceSpec): void {
    const existing = this.state.services.get(name);
    this.state.put(
      'Service',
      existing === undefined
        ? service(name, wanted)
        : { ...existing, spec: wanted, generation: existing.generation + 1 },
    );
  }

  plan(): OrchestratorStep[] {
    const steps = planner.plan(this.state, this.now);
    for (const step of steps) applyStep(this.state, step);
    return steps;
  }

  /** Lets the agents act on the containers `choose` admits. */
  act(choose: (container: ContainerResource) => 'ready' | 'fail' | 'nothing' = () => 'ready'): void {
    for (const container of [...this.state.containers.values()]) {
      const { node: home } = container.spec;
      if (home === undefined || !this.state.nodes.has(home)) continue;
      const verdict = choose(container);
      if (verdict === 'nothing') continue;
      if (container.deletedAt !== undefined) {
        this.state.delete('Endpoint', container.name);
        this.state.delete('Container', container.name);
      } else if (verdict === 'fail') {
        this.fail(container);
      } else if (!container.status.ready) {
        this.ready(container);
      }
    }
  }

  ready(container: ContainerResource): void {
    this.state.put('Container', {
      ...container,
      status: {
        ...container.status,
        status: 'Running',
        ready: true,
        readySince: this.now,
        startedAt: this.now,
      },
    });
    this.state.put('Endpoint', {
      kind: 'Endpoint',
      id: container.id,
      namespace: 'default',
      name: container.name,
      labels: {},
      spec: {
        service: container.spec.service,
        address: '10.0.0.9',
        ports: { http: 80 },
        weight: 1,
        labels: { [CONTAINER_LABEL]: container.id },
        ...(container.spec.node === undefined ? {} : { node: container.spec.node }),
      },
      status: { state: container.spec.drainUntil === undefined ? 'ready' : 'draining' },
      generation: 1,
      revision: 1,
      createdAt: this.now,
      finalizers: [],
    });
  }

  fail(container: ContainerResource): void {
    this.state.put('Container', {
      ...container,
      status: {
        ...container.status,
        status: 'Failed',
        ready: false,
        restarts: container.status.restarts + 1,
        restartAt: this.now + 100,
        message: 'it ended with exit code 1',
      },
    });
  }

  replicas(name = 'web'): ContainerResource[] {
    return this.state.containersOf(name);
  }

  serving(name = 'web'): number {
    return this.replicas(name).filter(
      (one) => one.status.ready && one.deletedAt === undefined && one.spec.drainUntil === undefined,
    ).length;
  }

  settle(rounds = 30): void {
    for (let round = 0; round < rounds; round += 1) {
      this.beat([...this.state.nodes.keys()]);
      this.plan();
      this.act();
      this.now += 500;
    }
  }
}

function view(draft: Draft): ClusterState {
  const { namespace, nodes, services, containers, endpoints, revisions, addresses, heartbeats } = draft;
  return { namespace, nodes, services, containers, endpoints, revisions, addresses, heartbeats };
}

/** Steps as a person would read them. */
function told(steps: readonly OrchestratorStep[]): string[] {
  return steps.map((step) => `${step.op} ${step.object}: ${step.because}`);
}

describe('a plan', () => {
  it('for a new service creates, binds and reports in one go (golden)', () => {
    const cluster = new SimulatedCluster([node('n1'), node('n2')]);
    cluster.deploy('web', spec({ replicas: 2 }));
    expect(told(cluster.plan())).toMatchInlineSnapshot(`
      [
        "claim-address Service/default/web: web needs a stable address; 10.88.114.41 is free",
        "record-revision Service/default/web: the spec of web changed: it is revision 1",
        "set-rollout Service/default/web: revision 1 of web is wanted now",
        "create-container Container/default/web-0-c9dfc1: web wants 2 replicas and has 0",
        "create-container Container/default/web-1-b39ce3: web wants 2 replicas and has 0",
        "bind-container Container/default/web-0-c9dfc1: node n1 fits web-0-c9dfc1 best",
        "bind-container Container/default/web-1-b39ce3: node n2 fits web-1-b39ce3 best",
        "report-service Service/default/web: 0 of 2 replicas are ready",
      ]
    `);
    expect(cluster.plan()).toEqual([]);
  });

  it('for a changed spec starts one more first (golden)', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec({ replicas: 2 }));
    cluster.settle();
    cluster.deploy('web', spec({ replicas: 2, image: 'web:2' }));
    expect(told(cluster.plan())).toMatchInlineSnapshot(`
      [
        "record-revision Service/default/web: the spec of web changed: it is revision 2",
        "set-rollout Service/default/web: revision 2 of web is wanted now",
        "create-container Container/default/web-0-951a7b: the spec of web changed: web-0-951a7b runs the new one",
        "bind-container Container/default/web-0-951a7b: node n1 fits web-0-951a7b best",
        "report-service Service/default/web: 2 of 2 replicas are ready",
      ]
    `);
    cluster.act();
    expect(told(cluster.plan())).toMatchInlineSnapshot(`
      [
        "drain-container Container/default/web-1-b39ce3: web-1-b39ce3 runs an older revision; it gets no new traffic for 1000 ms before it stops",
        "set-endpoint Endpoint/default/web-1-b39ce3: web-1-b39ce3 is about to stop",
        "create-container Container/default/web-1-ebd619: the spec of web changed: web-1-ebd619 runs the new one",
        "bind-container Container/default/web-1-ebd619: node n1 fits web-1-ebd619 best",
        "report-service Service/default/web: 2 of 2 replicas are ready",
      ]
    `);
  });

  it('for limits alone changes running replicas in place', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec());
    cluster.settle();
    const names = cluster.replicas().map((one) => one.name);
    const before = spec();
    cluster.deploy('web', { ...before, resources: { ...before.resources, limits: { cpuMillis: 300 } } });
    cluster.settle();
    expect(cluster.replicas().map((one) => one.name)).toEqual(names);
    expect(cluster.replicas().map((one) => one.spec.template.resources.limits.cpuMillis)).toEqual([
      300, 300, 300,
    ]);
  });

  it('for limits changed after a rollout keeps them when that revision is gone back to', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    const limited = { ...spec().resources, limits: { cpuMillis: 300 } };
    cluster.deploy('web', spec());
    cluster.settle();
    cluster.deploy('web', spec({ resources: limited }));
    cluster.settle();
    cluster.deploy('web', spec({ image: 'web:broken', resources: limited }));
    for (let round = 0; round < 12; round += 1) {
      cluster.beat(['n1']);
      cluster.plan();
      cluster.act((one) => (one.spec.template.image === 'web:broken' && !one.deletedAt ? 'fail' : 'ready'));
      cluster.now += 500;
    }
    expect(cluster.state.services.get('web')?.spec).toMatchObject({ image: 'web:1', resources: limited });
  });

  it('for a removed service ends with nothing left', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec());
    cluster.settle();
    const existing = cluster.state.services.get('web');
    if (existing !== undefined) cluster.state.put('Service', { ...existing, deletedAt: cluster.now });
    cluster.settle();
    const { services, containers, endpoints, revisions, addresses } = cluster.state;
    expect([services, containers, endpoints, revisions, addresses].map((one) => one.size)).toEqual([
      0, 0, 0, 0, 0,
    ]);
    expect(cluster.state.nodes.get('n1')?.status.allocated.cpuMillis).toBe(0);
  });

  it('gives every service an address of its own, the same after it was removed and deployed again', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    for (const name of ['a', 'b', 'c', 'd']) cluster.deploy(name, spec({ replicas: 1 }));
    cluster.settle();
    const addresses = ['a', 'b', 'c', 'd'].map(
      (name) => cluster.state.services.get(name)?.status.virtualAddress,
    );
    expect(new Set(addresses).size).toBe(4);
    for (const address of addresses) expect(address).toMatch(/^10\.88\./);
  });
});

describe('a rollout', () => {
  it('of a broken template stops after the surge, keeps everybody serving, and goes back', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec());
    cluster.settle();
    const good = templateHash(spec());
    cluster.deploy('web', spec({ image: 'web:broken' }));
    for (let round = 0; round < 12; round += 1) {
      cluster.beat(['n1']);
      cluster.plan();
      cluster.act((one) =>
        one.spec.template.image === 'web:broken' && one.deletedAt === undefined ? 'fail' : 'ready',
      );
      expect(cluster.serving()).toBe(3);
      expect(cluster.replicas().filter((one) => one.spec.templateHash !== good).length).toBeLessThanOrEqual(
        1,
      );
      cluster.now += 500;
    }
    const rolledBack = cluster.state.services.get('web');
    expect(rolledBack?.spec.image).toBe('web:1');
    expect(rolledBack?.status.rollout?.state).toBe('rolled-back');
    expect(rolledBack?.status.rollout?.message).toContain('restarted 5 times');
    expect(cluster.replicas().every((one) => one.spec.templateHash === good)).toBe(true);
  });

  it('without progress fails at its deadline, and pauses if told to', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec());
    cluster.settle();
    const update = { ...spec().update, onFailure: 'pause' as const, progressDeadlineMs: 10_000 };
    cluster.deploy('web', spec({ image: 'web:2', update }));
    for (let round = 0; round < 50; round += 1) {
      cluster.beat(['n1']);
      cluster.plan();
      cluster.act((one) => (one.spec.template.image === 'web:2' ? 'nothing' : 'ready'));
      cluster.now += 500;
    }
    expect(cluster.state.services.get('web')?.status.rollout?.state).toBe('paused');
    expect(cluster.serving()).toBe(3);
    cluster.now += 60_000;
    cluster.beat(['n1']);
    expect(cluster.plan()).toEqual([]);
  });

  it('waits until a new replica was ready for long enough', () => {
    const cluster = new SimulatedCluster([node('n1')]);
    cluster.deploy('web', spec({ replicas: 1 }));
    cluster.settle();
    cluster.deploy(
      'web',
      spec({ replicas: 1, image: 'web:2', update: { ...spec().update, minReadyMs: 5_000 } }),
    );
    cluster.plan();
    cluster.act();
    cluster.now += 4_999;
    cluster.beat(['n1']);
    expect(cluster.plan().filter((step) => step.op === 'drain-container')).toEqual([]);
    cluster.now += 1;
    expect(cluster.plan().filter((step) => step.op === 'drain-container')).toHaveLength(1);
  });
});

describe('the loss of a node', () => {
  it('is first suspected, which moves nothing, and then acted on', () => {
    const cluster = new SimulatedCluster([node('n1'), node('n2')]);
    cluster.deploy('web', spec({ replicas: 2 }));
    cluster.settle();
    cluster.now += 6_500;
    cluster.beat(['n2']);
    cluster.plan();
    expect(cluster.state.nodes.get('n1')?.status.status).toBe('Unknown');
    expect(cluster.replicas()).toHaveLength(2);
    cluster.now += 4_000;
    cluster.beat(['n2']);
    const steps = cluster.plan();
    expect(steps.filter((step) => step.op === 'create-container')).toHaveLength(1);
    expect(steps.filter((step) => step.op === 'set-endpoint')).toHaveLength(1);
    expect(cluster.replicas().filter((one) => one.spec.node === 'n2')).toHaveLength(2);
  });
});

const options = fc.record({
  replicas: fc.integer({ min: 0, max: 6 }),
  maxSurge: fc.integer({ min: 0, max: 3 }),
  maxUnavailable: fc.integer({ min: 0, max: 3 }),
  image: fc.constantFrom('web:1', 'web:2', 'web:3'),
});
/** What happens between two plans. */
const events = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('act' as const), seed: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('deploy' as const), options }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('lose' as const), node: fc.constantFrom('n1', 'n2', 'n3') }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('drain' as const), node: fc.constantFrom('n1', 'n2', 'n3') }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'remove' as const }) },
);

/** Runs a history; calls `check` with the state before and after each plan. */
function run(
  history: readonly (typeof events extends fc.Arbitrary<infer T> ? T : never)[],
  check: (before: SimulatedCluster, after: SimulatedCluster, steps: readonly OrchestratorStep[]) => void,
): SimulatedCluster {
  const cluster = new SimulatedCluster([node('n1'), node('n2'), node('n3', 300)]);
  cluster.deploy('web', spec());
  const silent = new Set<string>();
  for (const event of history) {
    const web = cluster.state.services.get('web');
    if (event.kind === 'act') {
      cluster.act((one) => {
        if (one.spec.node !== undefined && silent.has(one.spec.node)) return 'nothing';
        const digit = (event.seed + one.name.charCodeAt(one.name.length - 1)) % 5;
        return digit === 0 ? 'nothing' : digit === 1 && one.deletedAt === undefined ? 'fail' : 'ready';
      });
    } else if (event.kind === 'lose') silent.add(event.node);
    else if (event.kind === 'remove') {
      if (web !== undefined)
        cluster.state.put('Service', { ...web, deletedAt: web.deletedAt ?? cluster.now });
    } else if (event.kind === 'drain') {
      const resource = cluster.state.nodes.get(event.node);
      if (resource !== undefined) {
        cluster.state.put('Node', {
          ...resource,
          spec: { ...resource.spec, draining: !resource.spec.draining },
        });
      }
    } else if (web?.deletedAt === undefined) {
      const { replicas, image, maxSurge, maxUnavailable } = event.options;
      cluster.deploy(
        'web',
        spec({ replicas, image, update: { ...spec().update, maxSurge, maxUnavailable } }),
      );
    }
    cluster.now += 700;
    cluster.beat([...cluster.state.nodes.keys()].filter((name) => !silent.has(name)));
    const before = new SimulatedCluster([]);
    before.now = cluster.now;
    before.state = new Draft(view(cluster.state));
    const steps = cluster.plan();
    check(before, cluster, steps);
  }
  return cluster;
}

describe('whatever happens', () => {
  const histories = fc.array(events, { maxLength: 40 });

  it('plan(apply(plan(s))) = []', () => {
    fc.assert(
      fc.property(histories, (history) => {
        run(history, (_, after) => {
          expect(told(planner.plan(after.state, after.now))).toEqual([]);
        });
      }),
    );
  });

  it('no plan takes more serving replicas out than the update policy allows', () => {
    fc.assert(
      fc.property(histories, (history) => {
        run(history, (before, after) => {
          const web = after.state.services.get('web');
          if (web === undefined || web.deletedAt !== undefined) return;
          const available = (cluster: SimulatedCluster): number =>
            cluster
              .replicas()
              .filter((one) => one.spec.drainUntil === undefined && one.deletedAt === undefined)
              .filter((one) => after.state.nodes.get(one.spec.node ?? '')?.status.status !== 'NotReady')
              .filter((one) => isAvailable(one, web.spec.update.minReadyMs, after.now)).length;
          const floor = web.spec.replicas - web.spec.update.maxUnavailable;
          expect(available(after)).toBeGreaterThanOrEqual(Math.min(floor, available(before)));
        });
      }),
    );
  });

  it('there are never more replicas than the surge allows, and no node has more than it holds', () => {
    fc.assert(
      fc.property(histories, (history) => {
        run(history, (before, after, steps) => {
          const web = after.state.services.get('web');
          if (web !== undefined && steps.some((step) => step.op === 'create-container')) {
            const { maxSurge, maxUnavailable } = web.spec.update;
            const surge = maxSurge === 0 && maxUnavailable === 0 ? 1 : maxSurge;
            const alive = after
              .replicas()
              .filter((one) => one.deletedAt === undefined && one.spec.drainUntil === undefined)
              .filter((one) => after.state.nodes.get(one.spec.node ?? 'n1')?.status.status !== 'NotReady');
            const had = before.replicas().filter((one) => one.deletedAt === undefined).length;
            expect(alive.length).toBeLessThanOrEqual(Math.max(had, web.spec.replicas + surge));
          }
          for (const { name, spec: home } of after.state.nodes.values()) {
            const bound = after.replicas().filter((one) => one.spec.node === name);
            expect(bound.length * 100).toBeLessThanOrEqual(home.capacity.cpuMillis);
          }
        });
      }),
    );
  });

  it('once the trouble is over the service is whole, or gone if it was removed', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const cluster = run(history, () => {});
        for (const resource of [...cluster.state.nodes.values()]) {
          cluster.state.put('Node', { ...resource, spec: { ...resource.spec, draining: false } });
        }
        cluster.settle(60);
        const web = cluster.state.services.get('web');
        if (web === undefined) {
          expect(cluster.state.containers.size).toBe(0);
          return;
        }
        expect(web.deletedAt).toBeUndefined();
        const hash = templateHash(web.spec);
        expect(cluster.replicas().map((one) => [one.spec.templateHash, one.status.ready])).toEqual(
          Array.from({ length: web.spec.replicas }, () => [hash, true]),
        );
        expect(cluster.state.endpoints.size).toBe(web.spec.replicas);
      }),
    );
  });
});
