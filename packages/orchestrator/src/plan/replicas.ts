// How many replicas to create, drain and remove: scaling and rolling update, never below the availability floor.

import type { ContainerResource, Instant, ServiceResource } from '@heptad/core';
import { canonicalJson, liveParts } from './identity.ts';
import { creationReason, newReplica, templateFor } from './new-replica.ts';
import { byRemovalOrder } from './removal-order.ts';
import type { Emit } from './rollout.ts';
import type { Draft } from './state.ts';
import { isAvailable, isPaused, type ServiceView, viewService } from './view.ts';

/** Choices of the planner that are not part of a service's spec. */
export interface ReplicaOptions {
  /**
   * How long a replica that served gets no new traffic before it is stopped: until every proxy has heard of it.
   * Milliseconds.
   */
  readonly drainMs: number;
}

/**
 * Removing replicas that do not serve makes room for new ones, which may let others go. Each round takes at least one
 * of `maxUnavailable`; what is left after so many is for the next plan.
 */
const ROUND_LIMIT = 100;

function objectOf(container: ContainerResource): string {
  return `Container/${container.namespace}/${container.name}`;
}

/** Plans creations, drains and removals of one service. */
export function planReplicas(
  draft: Draft,
  service: ServiceResource,
  now: Instant,
  options: ReplicaOptions,
  emit: Emit,
): void {
  const view = viewService(draft, service);
  finishDrains(view, now, emit);
  syncLiveParts(view, emit);
  if (service.deletedAt !== undefined) {
    const because = `service ${service.name} was removed`;
    for (const container of [...view.current, ...view.outdated, ...view.lost]) {
      retire(draft, container, because, now, options, emit);
    }
    return;
  }
  for (let round = 0; round < ROUND_LIMIT; round += 1) {
    let moved = false;
    planRound(draft, service, now, options, (step) => {
      moved = true;
      emit(step);
    });
    if (!moved) return;
  }
}

function planRound(
  draft: Draft,
  service: ServiceResource,
  now: Instant,
  options: ReplicaOptions,
  emit: Emit,
): void {
  const view = viewService(draft, service);
  const { minReadyMs } = service.spec.update;
  const available = (container: ContainerResource): boolean => isAvailable(container, minReadyMs, now);
  const created = createMissing(draft, view, now, emit);
  removeOutdated(draft, view, created, available, now, options, emit);
  removeSurplus(draft, view, now, options, emit);
  removeLost(view, available, now, emit);
}

/** A drain whose window has passed becomes a removal. */
function finishDrains(view: ServiceView, now: Instant, emit: Emit): void {
  for (const container of view.draining) {
    const until = container.spec.drainUntil ?? now;
    if (now < until) continue;
    emit({
      op: 'remove-container',
      object: objectOf(container),
      because: `${container.name} has been out of traffic long enough`,
      payload: { service: view.service.name, container: container.name, at: now },
    });
  }
}

/** Limits and stop rules of running replicas follow the spec without a restart. */
function syncLiveParts(view: ServiceView, emit: Emit): void {
  if (isPaused(view.service)) return;
  const wanted = liveParts(view.service.spec);
  const wantedText = canonicalJson(wanted);
  for (const container of view.current) {
    if (container.spec.templateHash !== view.hash) continue;
    if (canonicalJson(liveParts(container.spec.template)) === wantedText) continue;
    emit({
      op: 'sync-container',
      object: objectOf(container),
      because: `limits or stop rules of ${view.service.name} changed; ${container.name} takes them over live`,
      payload: {
        service: view.service.name,
        container: container.name,
        template: { ...container.spec.template, ...wanted },
      },
    });
  }
}

function createMissing(draft: Draft, view: ServiceView, now: Instant, emit: Emit): number {
  const { service, current, outdated } = view;
  const missing = service.spec.replicas - current.length;
  const { maxSurge, maxUnavailable } = service.spec.update;
  // Zero and zero would never move; one extra replica is the harmless reading.
  const surge = maxSurge === 0 && maxUnavailable === 0 ? 1 : maxSurge;
  const room =
    outdated.length === 0 ? missing : service.spec.replicas + surge - current.length - outdated.length;
  const count = Math.min(missing, room);
  if (count <= 0) return 0;
  const { spec, hash } = templateFor(draft, view);
  const taken = new Set(current.map((container) => container.spec.slot));
  const all = draft.containersOf(service.name);
  let slot = 0;
  for (let made = 0; made < count; made += 1) {
    while (taken.has(slot)) slot += 1;
    taken.add(slot);
    const container = newReplica(service, spec, hash, slot, all, now);
    emit({
      op: 'create-container',
      object: objectOf(container),
      because: creationReason(view, container),
      payload: { service: service.name, container },
    });
  }
  return count;
}

/**
 * Takes out outdated replicas as far as availability allows: first those that do not serve anyway, then one for each
 * replica that is available beyond the floor.
 *
 * The floor: replicas - maxUnavailable stay available. What is not yet available of the new template counts as
 * unavailable, so a rollout of a broken template stops after `maxSurge` replicas.
 *
 * Source: Kubernetes' deployment controller (`reconcileOldReplicaSets`).
 */
function removeOutdated(
  draft: Draft,
  view: ServiceView,
  created: number,
  available: (container: ContainerResource) => boolean,
  now: Instant,
  options: ReplicaOptions,
  emit: Emit,
): void {
  const { service, current, outdated } = view;
  if (outdated.length === 0) return;
  const floor = Math.max(0, service.spec.replicas - service.spec.update.maxUnavailable);
  const total = current.length + created + outdated.length;
  const newUnavailable = created + current.filter((container) => !available(container)).length;
  let budget = total - floor - newUnavailable;
  const hash = view.hash;
  const reason = (container: ContainerResource): string =>
    container.spec.templateHash === hash
      ? `node ${container.spec.node} is being drained`
      : `${container.name} runs an older revision`;
  const broken = byRemovalOrder(
    draft,
    outdated.filter((container) => !available(container)),
  );
  for (const container of broken) {
    if (budget <= 0) return;
    retire(draft, container, `${reason(container)} and does not serve`, now, options, emit);
    budget -= 1;
  }
  const serving = byRemovalOrder(draft, outdated.filter(available));
  let spare = serving.length + current.filter(available).length - floor;
  for (const container of serving) {
    if (budget <= 0 || spare <= 0) return;
    retire(draft, container, reason(container), now, options, emit);
    budget -= 1;
    spare -= 1;
  }
}

/** Scaling down, and replicas that came back from a lost node after they had been replaced. */
function removeSurplus(
  draft: Draft,
  view: ServiceView,
  now: Instant,
  options: ReplicaOptions,
  emit: Emit,
): void {
  const { service, current } = view;
  const surplus = current.length - service.spec.replicas;
  if (surplus <= 0) return;
  const because = `${service.name} wants ${service.spec.replicas} replicas and has ${current.length}`;
  for (const container of byRemovalOrder(draft, current).slice(0, surplus)) {
    retire(draft, container, because, now, options, emit);
  }
}

/**
 * A replica on a lost node is given up only once it is fully replaced: if the node comes back before, it simply goes
 * on, and a cluster of one node whose agent was away for a minute restarts nothing.
 */
function removeLost(
  view: ServiceView,
  available: (container: ContainerResource) => boolean,
  now: Instant,
  emit: Emit,
): void {
  const { service, current, outdated, lost } = view;
  const serving = [...current, ...outdated].filter(available).length;
  if (lost.length === 0 || serving < service.spec.replicas) return;
  for (const container of lost) {
    emit({
      op: 'remove-container',
      object: objectOf(container),
      because: `${container.name} was on lost node ${container.spec.node} and is replaced`,
      payload: { service: service.name, container: container.name, at: now },
    });
  }
}

/** Out of traffic first when it is in traffic; at once when it is not. */
function retire(
  draft: Draft,
  container: ContainerResource,
  because: string,
  now: Instant,
  options: ReplicaOptions,
  emit: Emit,
): void {
  const { service } = container.spec;
  const endpoint = draft.endpoints.get(container.name);
  const serves = endpoint !== undefined && endpoint.status.state !== 'unready';
  if (!serves || options.drainMs === 0) {
    emit({
      op: 'remove-container',
      object: objectOf(container),
      because,
      payload: { service, container: container.name, at: now },
    });
    return;
  }
  emit({
    op: 'drain-container',
    object: objectOf(container),
    because: `${because}; it gets no new traffic for ${options.drainMs} ms before it stops`,
    payload: { service, container: container.name, until: now + options.drainMs },
  });
  if (endpoint.status.state === 'draining') return;
  emit({
    op: 'set-endpoint',
    object: `Endpoint/${endpoint.namespace}/${endpoint.name}`,
    because: `${container.name} is about to stop`,
    payload: { service, endpoint: endpoint.name, state: 'draining' },
  });
}
