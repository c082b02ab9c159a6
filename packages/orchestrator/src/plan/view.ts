// One service and its containers, sorted by what they mean for the plan.

import type { ContainerResource, Instant, NodeResource, ServiceResource } from '@heptad/core';
import { templateHash } from './identity.ts';
import type { ClusterState, Draft } from './state.ts';

/** A service's containers by their part in the plan. A container is in exactly one of the lists. */
export interface ServiceView {
  readonly service: ServiceResource;
  /** Hash of what should run. */
  readonly hash: string;
  /** Run, or shall run, what is wanted, on a node that stays. */
  readonly current: ContainerResource[];
  /** Run an older template, or on a node that is being drained: to be replaced, but they serve until then. */
  readonly outdated: ContainerResource[];
  /** Being taken out of traffic before they are removed. */
  readonly draining: ContainerResource[];
  /** On a node that is gone or whose agent is down: they may still run, but nothing is known of them. */
  readonly lost: ContainerResource[];
  /** Marked for removal; their agent is at it. */
  readonly removing: ContainerResource[];
}

/** Why nothing is known of what runs on a node; undefined for a node that counts. A suspect (`Unknown`) node counts. */
export function nodeLoss(node: NodeResource | undefined): string | undefined {
  if (node === undefined || node.deletedAt !== undefined) return 'the node was removed';
  if (node.status.status === 'NotReady') return 'the node is down';
  return undefined;
}

/** Ended for good: the agent will not start it again. */
export function isFinished(container: ContainerResource): boolean {
  const { status, restartAt } = container.status;
  return status === 'Succeeded' || (status === 'Failed' && restartAt === undefined);
}

/** Takes traffic, and has done so for as long as the update policy demands. A job that succeeded counts as well. */
export function isAvailable(container: ContainerResource, minReadyMs: number, now: Instant): boolean {
  const { status, ready, readySince } = container.status;
  if (status === 'Succeeded') return true;
  return ready && (minReadyMs === 0 || now - (readySince ?? now) >= minReadyMs);
}

/** Whether containers of another template are left alone: somebody, or the update policy, paused the rollout. */
export function isPaused(service: ServiceResource): boolean {
  return service.status.rollout?.state === 'paused';
}

/** Sorts a service's containers. */
export function viewService(draft: Draft, service: ServiceResource): ServiceView {
  const hash = templateHash(service.spec);
  const view: ServiceView = {
    service,
    hash,
    current: [],
    outdated: [],
    draining: [],
    lost: [],
    removing: [],
  };
  const paused = isPaused(service);
  for (const container of draft.containersOf(service.name)) {
    listFor(view, container, draft, paused).push(container);
  }
  return view;
}

function listFor(
  view: ServiceView,
  container: ContainerResource,
  state: ClusterState,
  paused: boolean,
): ContainerResource[] {
  if (container.deletedAt !== undefined) return view.removing;
  const node = container.spec.node === undefined ? undefined : state.nodes.get(container.spec.node);
  if (container.spec.node !== undefined && nodeLoss(node) !== undefined) return view.lost;
  if (container.spec.drainUntil !== undefined) return view.draining;
  if (node?.spec.draining === true) return view.outdated;
  return container.spec.templateHash === view.hash || paused ? view.current : view.outdated;
}
