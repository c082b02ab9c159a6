// "Why is this pending?": what a service is doing and what it waits for, in sentences.

import { type ContainerResource, formatDuration, type Instant, type ServiceResource } from '@heptad/core';
import { dependencyGate } from '../plan/place.ts';
import { type ClusterState, Draft } from '../plan/state.ts';
import { type ServiceView, viewService } from '../plan/view.ts';

/** Sentences about a service, the most important first. */
export function explainService(state: ClusterState, service: ServiceResource, now: Instant): string[] {
  const draft = new Draft(state);
  const view = viewService(draft, service);
  const { name, spec, status } = service;
  const alive = view.current.length + view.outdated.length;
  const sentences: string[] = [];
  if (service.deletedAt !== undefined) {
    const left = alive + view.draining.length + view.removing.length + view.lost.length;
    sentences.push(`${name} is being removed; ${left} replica${left === 1 ? ' is' : 's are'} left.`);
  } else {
    sentences.push(
      `${name} wants ${spec.replicas} replica${spec.replicas === 1 ? '' : 's'}; ${status.replicas.ready} ready, ` +
        `${status.replicas.running} running, ${status.replicas.pending} pending, ${status.replicas.failed} failed.`,
    );
  }
  if (status.observedGeneration !== service.generation) {
    sentences.push('The orchestrator has not seen its last change yet; is a server running?');
  }
  if (status.rollout !== undefined && status.rollout.state !== 'idle') {
    sentences.push(`Rollout is ${status.rollout.state}: ${status.rollout.message}.`);
  }
  const gate = service.deletedAt === undefined ? dependencyGate(draft, service) : undefined;
  if (gate !== undefined) sentences.push(`It has not started yet: it ${gate}.`);
  for (const container of containersInOrder(view)) {
    sentences.push(explainContainer(container, view, state, now));
  }
  return sentences;
}

function containersInOrder(view: ServiceView): ContainerResource[] {
  return [...view.current, ...view.outdated, ...view.draining, ...view.lost, ...view.removing].filter(
    (container) => !container.status.ready || !view.current.includes(container),
  );
}

function explainContainer(
  container: ContainerResource,
  view: ServiceView,
  state: ClusterState,
  now: Instant,
): string {
  const { name, spec, status } = container;
  const where = spec.node === undefined ? '' : ` on ${spec.node}`;
  if (view.removing.includes(container)) {
    const agent = spec.node === undefined ? undefined : state.nodes.get(spec.node);
    const away = agent !== undefined && agent.status.status !== 'Ready';
    return away
      ? `${name}${where} is to be removed, but ${spec.node} is ${agent.status.status}: its agent does it when it is back, or remove the node.`
      : `${name}${where} is being stopped and removed.`;
  }
  if (view.draining.includes(container)) {
    const left = Math.max(0, (spec.drainUntil ?? now) - now);
    return `${name}${where} gets no new traffic and stops in ${formatDuration(left)}.`;
  }
  if (view.lost.includes(container)) {
    return `${name}${where} may still run, but its node does not report.`;
  }
  if (spec.node === undefined) return `${name} is pending: ${status.message}.`;
  if (status.status === 'Failed' && status.restartAt !== undefined) {
    const wait = Math.max(0, status.restartAt - now);
    return `${name}${where} failed (${status.message}); restart ${status.restarts + 1} in ${formatDuration(wait)}.`;
  }
  return `${name}${where} is ${status.status}${status.ready ? '' : ', not ready'}: ${status.message}.`;
}
