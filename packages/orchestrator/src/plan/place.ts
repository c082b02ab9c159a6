// Binding: which pending replicas may start at all, and which node each goes to.

import type {
  ClusterView,
  ContainerResource,
  Instant,
  NodeView,
  Placement,
  Replica,
  Scheduler,
  ServiceResource,
} from '@heptad/core';
import { missesText } from '../schedule/errors.ts';
import { addQuantities, NO_RESOURCES } from '../schedule/quantities.ts';
import { boundResources } from './nodes.ts';
import type { Emit } from './rollout.ts';
import type { ClusterState, Draft } from './state.ts';
import { isFinished, nodeLoss } from './view.ts';

/** Plans a node, or a sentence why there is none, for every unbound replica. */
export function planPlacement(draft: Draft, now: Instant, scheduler: Scheduler, emit: Emit): void {
  const replicas: Replica[] = [];
  for (const name of [...draft.services.keys()].sort()) {
    const service = draft.services.get(name);
    if (service === undefined || service.deletedAt !== undefined) continue;
    const unbound = draft
      .containersOf(name)
      .filter((container) => container.spec.node === undefined && container.deletedAt === undefined);
    if (unbound.length === 0) continue;
    const gate = dependencyGate(draft, service);
    for (const container of unbound.sort((a, b) => a.spec.slot - b.spec.slot)) {
      if (gate === undefined) replicas.push(replicaOf(container));
      else explain(container, 'WaitsForDependency', gate, now, emit);
    }
  }
  if (replicas.length === 0) return;
  const { placements } = scheduler.place(replicas, clusterView(draft));
  for (const placement of placements) bind(draft, placement, now, emit);
}

/** The cluster as the scheduler sees it. */
export function clusterView(state: ClusterState): ClusterView {
  const bound = boundResources(state.containers.values());
  const counts = new Map<string, Map<string, number>>();
  for (const container of state.containers.values()) {
    const { node, service } = container.spec;
    if (node === undefined || container.deletedAt !== undefined || isFinished(container)) continue;
    const byService = counts.get(node) ?? new Map<string, number>();
    const key = `${container.namespace}/${service}`;
    byService.set(key, (byService.get(key) ?? 0) + 1);
    counts.set(node, byService);
  }
  const nodes = [...state.nodes.values()].map(
    (node): NodeView => ({
      node,
      allocated: bound.get(node.name) ?? NO_RESOURCES,
      replicasByService: counts.get(node.name) ?? new Map(),
      // Published ports belong to the node proxy, which serves them on every node whoever runs there; replicas
      // themselves have an address of their own and take no port of the host.
      hostPorts: new Set(),
    }),
  );
  return { nodes };
}

function replicaOf(container: ContainerResource): Replica {
  const { service, template } = container.spec;
  const runtime = template.runtime === 'auto' ? [] : [`node.runtime==${template.runtime}`];
  return {
    id: container.name,
    service,
    namespace: container.namespace,
    requests: template.resources.requests,
    constraints: [...template.constraints, ...runtime],
    hostPorts: [],
  };
}

function bind(draft: Draft, placement: Placement, now: Instant, emit: Emit): void {
  const container = draft.containers.get(placement.replica.id);
  if (container === undefined) return;
  if (!('node' in placement)) {
    const message =
      placement.code === 'NO_AVAILABLE_NODES'
        ? `no node is available (${placement.misses.length === 0 ? 'the cluster has no nodes' : missesText(placement.misses)})`
        : `no node fits (${missesText(placement.misses)})`;
    const reason = placement.code === 'NO_AVAILABLE_NODES' ? 'NoAvailableNodes' : 'NoSuitableNode';
    explain(container, reason, message, now, emit);
    return;
  }
  const node = draft.nodes.get(placement.node);
  emit({
    op: 'bind-container',
    object: `Container/${container.namespace}/${container.name}`,
    because: `node ${placement.node} fits ${container.name} best`,
    payload: {
      service: container.spec.service,
      container: container.name,
      node: placement.node,
      allocated: addQuantities(node?.status.allocated ?? NO_RESOURCES, placement.replica.requests),
    },
  });
}

function explain(
  container: ContainerResource,
  reason: string,
  message: string,
  now: Instant,
  emit: Emit,
): void {
  if (container.status.message === message) return;
  emit({
    op: 'explain-container',
    object: `Container/${container.namespace}/${container.name}`,
    because: message,
    payload: { service: container.spec.service, container: container.name, reason, message, at: now },
  });
}

/**
 * Why a service may not start yet; undefined when it may. Dependencies order the *first* start: a service that already
 * runs is not held back when one of them is down, for that would turn one outage into two.
 */
export function dependencyGate(draft: Draft, service: ServiceResource): string | undefined {
  const established = draft
    .containersOf(service.name)
    .some((container) => container.status.startedAt !== undefined);
  if (established) return undefined;
  const waits = service.spec.dependencies.flatMap((dependency) => {
    const why = dependencyMiss(draft, dependency.service, dependency.condition);
    return why === undefined ? [] : [why];
  });
  return waits.length === 0 ? undefined : `waits for ${waits.join(' and ')}`;
}

function dependencyMiss(
  draft: Draft,
  name: string,
  condition: 'started' | 'healthy' | 'completed',
): string | undefined {
  const service = draft.services.get(name);
  if (service === undefined) return `${name}, which does not exist`;
  const alive = draft
    .containersOf(name)
    .filter(
      (container) =>
        container.deletedAt === undefined &&
        (container.spec.node === undefined || nodeLoss(draft.nodes.get(container.spec.node)) === undefined),
    );
  const counting = {
    started: () => alive.some(({ status }) => status.status === 'Running' || status.status === 'Succeeded'),
    healthy: () => alive.some(({ status }) => status.ready),
    completed: () => {
      const succeeded = alive.filter(({ status }) => status.status === 'Succeeded').length;
      return succeeded > 0 && succeeded >= service.spec.replicas;
    },
  }[condition];
  if (counting()) return undefined;
  return { started: `${name} to start`, healthy: `${name} to be healthy`, completed: `${name} to complete` }[
    condition
  ];
}
