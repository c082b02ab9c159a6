// Endpoints of containers: taken out when their node is lost, removed when their container is gone.

import type { EndpointResource } from '@heptad/core';
import { CONTAINER_LABEL } from './identity.ts';
import type { Emit } from './rollout.ts';
import type { Draft } from './state.ts';
import { nodeLoss } from './view.ts';

/** Whether an endpoint was written for a container (others come from programs that register themselves). */
function isContainers(endpoint: EndpointResource): boolean {
  return endpoint.spec.labels[CONTAINER_LABEL] !== undefined;
}

/**
 * Plans the endpoints of all containers.
 *
 * An agent that is down does not mean that its containers are: while a service has no ready endpoint elsewhere, those
 * on a lost node stay as they are. If the machine is really dead, requests fail either way; if only the agent is, they
 * do not. (Envoy calls the same thought the panic threshold.)
 */
export function planEndpoints(draft: Draft, emit: Emit): void {
  const readyElsewhere = new Set<string>();
  const atRisk: EndpointResource[] = [];
  for (const name of [...draft.endpoints.keys()].sort()) {
    const endpoint = draft.endpoints.get(name);
    if (endpoint === undefined) continue;
    const { service, node } = endpoint.spec;
    if (!isContainers(endpoint)) continue;
    const object = `Endpoint/${endpoint.namespace}/${name}`;
    if (draft.containers.get(name)?.id !== endpoint.spec.labels[CONTAINER_LABEL]) {
      const because = `the container of endpoint ${name} is gone`;
      emit({ op: 'remove-endpoint', object, because, payload: { service, endpoint: name } });
    } else if (node !== undefined && nodeLoss(draft.nodes.get(node)) !== undefined) {
      if (endpoint.status.state !== 'unready') atRisk.push(endpoint);
    } else if (endpoint.status.state === 'ready') {
      readyElsewhere.add(service);
    }
  }
  for (const endpoint of atRisk) {
    const { service, node } = endpoint.spec;
    if (!readyElsewhere.has(service)) continue;
    emit({
      op: 'set-endpoint',
      object: `Endpoint/${endpoint.namespace}/${endpoint.name}`,
      because: `node ${node} is lost and ${service} is served elsewhere`,
      payload: { service, endpoint: endpoint.name, state: 'unready' },
    });
  }
}
