// The end of services and containers: what nobody else cleans up, and the last finalizer.

import type { ServiceResource } from '@heptad/core';
import { SERVICE_FINALIZER } from './identity.ts';
import type { Emit } from './rollout.ts';
import type { Draft } from './state.ts';

/**
 * Removes Container resources that no agent will ever finalize: those never bound, those of a node that was removed
 * from the cluster, and those whose service is gone and that nobody marked.
 */
export function planContainerReleases(draft: Draft, emit: Emit): void {
  for (const name of [...draft.containers.keys()].sort()) {
    const container = draft.containers.get(name);
    if (container === undefined || container.deletedAt === undefined) continue;
    const { node, service } = container.spec;
    if (node !== undefined && draft.nodes.has(node)) continue;
    emit({
      op: 'release-container',
      object: `Container/${container.namespace}/${name}`,
      because:
        node === undefined ? `${name} never ran` : `node ${node} of ${name} was removed from the cluster`,
      payload: { service, container: name },
    });
  }
}

/** Marks containers whose service does not exist any more (it was removed behind our back). */
export function planOrphans(draft: Draft, now: number, emit: Emit): void {
  for (const name of [...draft.containers.keys()].sort()) {
    const container = draft.containers.get(name);
    if (container === undefined || container.deletedAt !== undefined) continue;
    if (draft.services.has(container.spec.service)) continue;
    emit({
      op: 'remove-container',
      object: `Container/${container.namespace}/${name}`,
      because: `service ${container.spec.service} of ${name} does not exist`,
      payload: { service: container.spec.service, container: name, at: now },
    });
  }
}

/** Lets a removed service go once nothing of it is left; its address and history go in the same transaction. */
export function planServiceRelease(draft: Draft, service: ServiceResource, emit: Emit): void {
  if (service.deletedAt === undefined || draft.containersOf(service.name).length > 0) return;
  if (service.finalizers.length > 0 && !service.finalizers.includes(SERVICE_FINALIZER)) return;
  const object = `Service/${service.namespace}/${service.name}`;
  for (const record of draft.revisions.get(service.name) ?? []) {
    emit({
      op: 'forget-revision',
      object,
      because: `service ${service.name} was removed`,
      payload: { service: service.name, number: record.number },
    });
  }
  emit({
    op: 'release-service',
    object,
    because: `nothing of ${service.name} is left`,
    payload: { service: service.name },
  });
}

/** Frees addresses of services that do not exist. */
export function planAddressReleases(draft: Draft, emit: Emit): void {
  for (const claim of [...draft.addresses.values()]) {
    if (claim.namespace !== draft.namespace || draft.services.has(claim.service)) continue;
    emit({
      op: 'release-address',
      object: `Service/${claim.namespace}/${claim.service}`,
      because: `service ${claim.service} is gone`,
      payload: { service: claim.service, address: claim.address },
    });
  }
}
