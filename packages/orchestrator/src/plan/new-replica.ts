// A new replica: what it runs, what it is called, and why it is made.

import type { ContainerResource, Instant, ServiceResource, ServiceSpec } from '@heptad/core';
import { AGENT_FINALIZER, containerName, derivedUuid } from './identity.ts';
import { lastGoodRevision } from './rollout.ts';
import type { Draft } from './state.ts';
import { isPaused, type ServiceView } from './view.ts';

/** What a new replica runs: while a rollout is paused that is the last revision that worked. */
export function templateFor(draft: Draft, view: ServiceView): { spec: ServiceSpec; hash: string } {
  const { service, hash } = view;
  if (isPaused(service)) {
    const good = lastGoodRevision(draft, service.name, hash);
    if (good !== undefined) return { spec: good.spec, hash: good.templateHash };
  }
  return { spec: service.spec, hash };
}

/** Why a replica is created, as a sentence. */
export function creationReason(view: ServiceView, container: ContainerResource): string {
  const { service, current, outdated, lost } = view;
  if (outdated.length > 0) {
    const moving = outdated.some((other) => other.spec.templateHash === view.hash);
    return moving
      ? `a node is being drained: ${container.name} takes over from there`
      : `the spec of ${service.name} changed: ${container.name} runs the new one`;
  }
  if (lost.length > 0)
    return `${lost.length} of ${service.name} are on a lost node: ${container.name} replaces one`;
  return `${service.name} wants ${service.spec.replicas} replicas and has ${current.length}`;
}

/** A replica that nobody has seen yet. Its name follows from what is there, so two controllers make one. */
export function newReplica(
  service: ServiceResource,
  template: ServiceSpec,
  hash: string,
  slot: number,
  all: readonly ContainerResource[],
  now: Instant,
): ContainerResource {
  const predecessors = all.filter((other) => other.spec.slot === slot).map((other) => other.name);
  const name = containerName(service, hash, slot, predecessors);
  return {
    kind: 'Container',
    id: derivedUuid(now, `${service.id}/${name}/${now}`),
    namespace: service.namespace,
    name,
    labels: { ...template.labels },
    spec: { service: service.name, slot, templateHash: hash, template, desired: 'running' },
    status: {
      status: 'Pending',
      observedGeneration: 0,
      ready: false,
      restarts: 0,
      message: 'waits for a node',
      conditions: [],
    },
    generation: 1,
    revision: 0,
    createdAt: now,
    finalizers: [AGENT_FINALIZER],
  };
}
