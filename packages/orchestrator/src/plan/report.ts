// What a service's status says: counts, one condition, and whether its rollout moved.

import type { Condition, ContainerResource, Instant, ServiceResource } from '@heptad/core';
import { canonicalJson } from './identity.ts';
import type { Emit } from './rollout.ts';
import type { Draft } from './state.ts';
import type { Rollout } from './steps.ts';
import { type ServiceView, viewService } from './view.ts';

type Counts = ServiceResource['status']['replicas'];

/** Counts a service's replicas. Those being drained or removed are not counted; those on lost nodes count as failed. */
export function countReplicas(view: ServiceView): Counts {
  const alive = [...view.current, ...view.outdated];
  const withStatus = (...wanted: ContainerResource['status']['status'][]): number =>
    alive.filter(({ status }) => wanted.includes(status.status)).length;
  return {
    total: alive.length + view.lost.length,
    running: withStatus('Running', 'Paused'),
    failed: withStatus('Failed') + view.lost.length,
    pending: withStatus('Pending', 'Unknown'),
    ready: alive.filter(({ status }) => status.ready).length,
    updated: alive.filter((container) => container.spec.templateHash === view.hash).length,
  };
}

/** Plans the status of one service, after everything else of the plan. */
export function planReport(draft: Draft, service: ServiceResource, now: Instant, emit: Emit): void {
  const view = viewService(draft, service);
  const replicas = countReplicas(view);
  const before = service.status;
  const rollout = progressed(before.rollout, before.replicas, replicas, view, now);
  const status: ServiceResource['status'] = {
    ...before,
    observedGeneration: service.generation,
    replicas,
    ...(rollout === undefined ? {} : { rollout }),
    conditions: [
      ...before.conditions.filter((condition) => condition.type !== 'Available'),
      availability(view, replicas, before.conditions, now),
    ],
  };
  if (canonicalJson(status) === canonicalJson(before)) return;
  emit({
    op: 'report-service',
    object: `Service/${service.namespace}/${service.name}`,
    because: `${replicas.ready} of ${service.spec.replicas} replicas are ready`,
    payload: { service: service.name, status },
  });
}

/** Any step forward starts the progress deadline anew. */
function progressed(
  rollout: Rollout | undefined,
  before: Counts,
  after: Counts,
  view: ServiceView,
  now: Instant,
): Rollout | undefined {
  if (rollout === undefined || rollout.state !== 'progressing') return rollout;
  const forward =
    after.updated > before.updated ||
    after.ready > before.ready ||
    (after.total < before.total && view.outdated.length > 0);
  return forward ? { ...rollout, progressedAt: now } : rollout;
}

function availability(
  view: ServiceView,
  replicas: Counts,
  before: readonly Condition[],
  now: Instant,
): Condition {
  const { spec, deletedAt, name } = view.service;
  const previous = before.find((condition) => condition.type === 'Available');
  const succeeded = view.current.filter(({ status }) => status.status === 'Succeeded').length;
  const enough = replicas.ready + succeeded >= spec.replicas;
  const status = enough && deletedAt === undefined ? 'True' : 'False';
  const reason = deletedAt !== undefined ? 'BeingRemoved' : enough ? 'ReplicasReady' : 'ReplicasMissing';
  const message =
    deletedAt !== undefined
      ? `${name} is being removed; ${view.removing.length + view.draining.length} replicas are left`
      : succeeded > 0
        ? `${succeeded} of ${spec.replicas} replicas completed, ${replicas.ready} are ready`
        : `${replicas.ready} of ${spec.replicas} replicas are ready`;
  return {
    type: 'Available',
    status,
    reason,
    message,
    since: previous?.status === status ? previous.since : now,
  };
}
