// Nodes: who reports, who is suspect, who is down, and how much of each is given away.

import type { Condition, ContainerResource, Instant, NodeResource, ResourceQuantities } from '@heptad/core';
import { addQuantities, NO_RESOURCES, sameQuantities } from '../schedule/quantities.ts';
import type { Emit } from './rollout.ts';
import type { Draft } from './state.ts';
import { isFinished } from './view.ts';

/** When silence of an agent means what. */
export interface HeartbeatLimits {
  /** Silent this long: suspect. It gets nothing new; nothing else happens, because a false alarm must be cheap. */
  readonly suspectMs: number;
  /** Silent this long: down. Its replicas are replaced elsewhere. */
  readonly downMs: number;
}

/** Resources bound on each node. What is being removed counts until it is gone; what ended for good does not. */
export function boundResources(containers: Iterable<ContainerResource>): Map<string, ResourceQuantities> {
  const bound = new Map<string, ResourceQuantities>();
  for (const container of containers) {
    const { node, template } = container.spec;
    if (node === undefined || (isFinished(container) && container.deletedAt === undefined)) continue;
    bound.set(node, addQuantities(bound.get(node) ?? NO_RESOURCES, template.resources.requests));
  }
  return bound;
}

/** Plans the status of every node. */
export function planNodes(draft: Draft, now: Instant, limits: HeartbeatLimits, emit: Emit): void {
  const bound = boundResources(draft.containers.values());
  for (const name of [...draft.nodes.keys()].sort()) {
    const node = draft.nodes.get(name);
    if (node === undefined) continue;
    planHealth(node, draft.heartbeats.get(name) ?? now, now, limits, emit);
    const allocated = bound.get(name) ?? NO_RESOURCES;
    if (sameQuantities(allocated, node.status.allocated)) continue;
    emit({
      op: 'set-node-allocated',
      object: `Node/${node.namespace}/${name}`,
      because: `what is bound to ${name} changed`,
      payload: { node: name, allocated },
    });
  }
}

function planHealth(
  node: NodeResource,
  seenAt: Instant,
  now: Instant,
  limits: HeartbeatLimits,
  emit: Emit,
): void {
  const silent = now - seenAt;
  const wanted = silent >= limits.downMs ? 'NotReady' : silent >= limits.suspectMs ? 'Unknown' : undefined;
  // Only an agent says that its node is ready; silence that grew from suspect to down goes only one way.
  if (wanted === undefined || node.status.status === wanted) return;
  if (wanted === 'Unknown' && node.status.status === 'NotReady') return;
  const reason = wanted === 'NotReady' ? 'HeartbeatLost' : 'HeartbeatLate';
  const message = `its agent has not reported since ${new Date(node.status.heartbeatAt).toISOString()}`;
  const condition: Condition = {
    type: 'Ready',
    status: wanted === 'NotReady' ? 'False' : 'Unknown',
    reason,
    message,
    since: now,
  };
  emit({
    op: 'set-node-status',
    object: `Node/${node.namespace}/${node.name}`,
    because: `node ${node.name}: ${message}; it is ${wanted === 'NotReady' ? 'down' : 'suspect'}`,
    payload: {
      node: node.name,
      status: wanted,
      conditions: [...node.status.conditions.filter((other) => other.type !== 'Ready'), condition],
    },
  });
}
