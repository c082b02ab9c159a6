import type { NodeResource, NodeView, Replica, ResourceQuantities } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BestFitScheduler } from './best-fit.ts';
import { placementError } from './errors.ts';
import { DIMENSIONS } from './quantities.ts';

const MIB = 1024 * 1024;
const ROOMY: ResourceQuantities = {
  cpuMillis: 4_000,
  memoryBytes: 4_096 * MIB,
  storageBytes: 100_000 * MIB,
  networkMbps: 1_000,
};
const NOTHING: ResourceQuantities = { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 };

function node(name: string, change: Partial<NodeResource['spec']> = {}, status = 'Ready' as const): NodeView {
  return view({
    kind: 'Node',
    id: '01890000-0000-7000-8000-000000000000',
    namespace: 'default',
    name,
    labels: { disk: name === 'n1' ? 'ssd' : 'hdd' },
    spec: { capacity: ROOMY, address: '10.0.0.1', unschedulable: false, draining: false, ...change },
    status: { status, allocated: NOTHING, heartbeatAt: 0, agentGeneration: 1, conditions: [] },
    generation: 1,
    revision: 1,
    createdAt: 0,
    finalizers: [],
  });
}

function view(resource: NodeResource): NodeView {
  return { node: resource, allocated: NOTHING, replicasByService: new Map(), hostPorts: new Set() };
}

function replica(id: string, change: Partial<Replica> = {}): Replica {
  return {
    id,
    service: 'web',
    namespace: 'default',
    requests: { ...NOTHING, cpuMillis: 500 },
    constraints: [],
    hostPorts: [],
    ...change,
  };
}

function placed(replicas: readonly Replica[], nodes: readonly NodeView[]): (string | undefined)[] {
  const { placements } = new BestFitScheduler().place(replicas, { nodes });
  return placements.map((placement) => ('node' in placement ? placement.node : undefined));
}

describe('BestFitScheduler', () => {
  it('spreads the replicas of a service over nodes', () => {
    const nodes = [node('n1'), node('n2'), node('n3')];
    const result = placed([replica('a'), replica('b'), replica('c')], nodes);
    expect(new Set(result)).toEqual(new Set(['n1', 'n2', 'n3']));
  });

  it('fills the fuller of two nodes, so that a big replica finds room later', () => {
    const half = { ...node('n2'), allocated: { ...NOTHING, cpuMillis: 2_000 } };
    expect(placed([replica('a', { service: 'one' })], [node('n1'), half])).toEqual(['n2']);
  });

  it('obeys constraints, and host ports', () => {
    const nodes = [node('n1'), node('n2')];
    expect(placed([replica('a', { constraints: ['node.labels.disk==ssd'] })], nodes)).toEqual(['n1']);
    expect(placed([replica('a', { constraints: ['node.name!=n1'] })], nodes)).toEqual(['n2']);
    const ports = [
      replica('a', { hostPorts: [80] }),
      replica('b', { hostPorts: [80] }),
      replica('c', { hostPorts: [80] }),
    ];
    expect(placed(ports, nodes).sort()).toEqual(['n1', 'n2', undefined]);
  });

  it('says for each node what did not fit', () => {
    const small = node('n1', { capacity: { ...ROOMY, memoryBytes: 512 * MIB } });
    const cordoned = node('n2', { unschedulable: true });
    const wish = replica('web-0', { requests: { ...NOTHING, memoryBytes: 2_048 * MIB } });
    const [placement] = new BestFitScheduler().place([wish], { nodes: [small, cordoned] }).placements;
    const error = placement === undefined ? undefined : placementError(placement);
    expect(error?.code).toBe('NO_SUITABLE_NODE');
    expect(error?.message).toBe(
      'cannot place web-0: no node fits (node n1: needs 2048 MiB memory, 512 MiB free; node n2: is cordoned)',
    );
  });

  it('tells a cluster without available nodes from one without suitable ones', () => {
    const codes = [[], [node('n1', { draining: true })]].map((nodes) => {
      const [placement] = new BestFitScheduler().place([replica('a')], { nodes }).placements;
      return placement !== undefined && 'code' in placement ? placement.code : undefined;
    });
    expect(codes).toEqual(['NO_AVAILABLE_NODES', 'NO_AVAILABLE_NODES']);
  });

  it('takes other plugins', () => {
    const scheduler = new BestFitScheduler({
      filters: [
        {
          name: 'OnlyLast',
          filter: (_, { node: { name } }) => (name === 'n3' ? true : { reason: 'not last' }),
        },
      ],
      scores: [],
    });
    const { placements } = scheduler.place([replica('a')], { nodes: [node('n1'), node('n3')] });
    expect(placements[0]).toMatchObject({ node: 'n3' });
  });

  const amounts = fc.record({
    cpuMillis: fc.integer({ min: 0, max: 3_000 }),
    memoryBytes: fc.integer({ min: 0, max: 3_000 }).map((mib) => mib * MIB),
    storageBytes: fc.integer({ min: 0, max: 60_000 }).map((mib) => mib * MIB),
    networkMbps: fc.integer({ min: 0, max: 900 }),
  });
  const clusters = fc.record({
    capacities: fc.array(amounts, { maxLength: 6 }),
    wishes: fc.array(fc.record({ requests: amounts, service: fc.constantFrom('a', 'b', 'c') }), {
      maxLength: 30,
    }),
  });
  const build = ({ capacities, wishes }: typeof clusters extends fc.Arbitrary<infer T> ? T : never) => ({
    nodes: capacities.map((capacity, index) => node(`n${index}`, { capacity })),
    replicas: wishes.map((wish, index) => replica(`r${index}`, wish)),
  });

  it('never gives a node more than it has, and answers for every replica once, in order', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const { nodes, replicas } = build(cluster);
        const { placements } = new BestFitScheduler().place(replicas, { nodes });
        expect(placements.map((placement) => placement.replica.id)).toEqual(replicas.map((one) => one.id));
        for (const { node: target } of nodes) {
          const there = placements.filter((one) => 'node' in one && one.node === target.name);
          for (const dimension of DIMENSIONS) {
            const sum = there.reduce((total, one) => total + one.replica.requests[dimension], 0);
            expect(sum).toBeLessThanOrEqual(target.spec.capacity[dimension]);
          }
        }
      }),
    );
  });

  it('leaves a replica out only if no node has room for it when all are placed', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const { nodes, replicas } = build(cluster);
        const { placements } = new BestFitScheduler().place(replicas, { nodes });
        for (const missed of placements.filter((one) => !('node' in one))) {
          for (const { node: target } of nodes) {
            const fits = DIMENSIONS.every((dimension) => {
              const used = placements
                .filter((one) => 'node' in one && one.node === target.name)
                .reduce((total, one) => total + one.replica.requests[dimension], 0);
              const wanted = missed.replica.requests[dimension];
              return wanted === 0 || used + wanted <= target.spec.capacity[dimension];
            });
            expect(fits).toBe(false);
          }
        }
      }),
    );
  });

  it('gives the same result whatever the order of the nodes', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const { nodes, replicas } = build(cluster);
        expect(placed(replicas, [...nodes].reverse())).toEqual(placed(replicas, nodes));
      }),
    );
  });

  it('chooses as a scheduler that scores every node anew for each replica', () => {
    fc.assert(
      fc.property(clusters, (cluster) => {
        const { nodes, replicas } = build(cluster);
        // One at a time, so that no cached score can survive.
        let state = nodes;
        const naive = new Map<string, string | undefined>();
        const classes = Map.groupBy(replicas, ({ service, requests }) => JSON.stringify([service, requests]));
        for (const wish of [...classes.values()].flat()) {
          const [target] = placed([wish], state);
          state = state.map((one) => (one.node.name === target ? filled(one, wish) : one));
          naive.set(wish.id, target);
        }
        expect(placed(replicas, nodes)).toEqual(replicas.map((wish) => naive.get(wish.id)));
      }),
    );
  });
});

function filled(view: NodeView, wish: Replica): NodeView {
  const key = `${wish.namespace}/${wish.service}`;
  return {
    ...view,
    allocated: {
      cpuMillis: view.allocated.cpuMillis + wish.requests.cpuMillis,
      memoryBytes: view.allocated.memoryBytes + wish.requests.memoryBytes,
      storageBytes: view.allocated.storageBytes + wish.requests.storageBytes,
      networkMbps: view.allocated.networkMbps + wish.requests.networkMbps,
    },
    replicasByService: new Map(view.replicasByService).set(key, (view.replicasByService.get(key) ?? 0) + 1),
  };
}
