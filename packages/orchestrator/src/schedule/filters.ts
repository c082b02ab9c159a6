// Filter plugins: whether a node can take a replica at all, and the sentence that says why not.

import { errorMessage, type FilterPlugin, type NodeView, type Replica, type Unfit } from '@heptad/core';
import { constraintMiss, type PlacementConstraint, parseConstraint } from './constraints.ts';
import { DIMENSIONS, freeText, quantityText } from './quantities.ts';

/** Name of the filter whose misses mean that a node is not available to anybody. */
export const AVAILABILITY_FILTER = 'NodeReady';

/** Only nodes that report, are not cordoned and are not being drained. */
export const nodeReadyFilter: FilterPlugin = {
  name: AVAILABILITY_FILTER,
  filter(_replica: Replica, { node }: NodeView): true | Unfit {
    if (node.deletedAt !== undefined) return { reason: 'is being removed' };
    if (node.status.status !== 'Ready') {
      const why = node.status.conditions.find((condition) => condition.type === 'Ready')?.message;
      return { reason: `is ${node.status.status}${why === undefined ? '' : `: ${why}`}` };
    }
    if (node.spec.draining) return { reason: 'is being drained' };
    if (node.spec.unschedulable) return { reason: 'is cordoned' };
    return true;
  },
};

/** Room in all four resources. */
export const resourcesFilter: FilterPlugin = {
  name: 'ResourcesFit',
  filter(replica: Replica, view: NodeView): true | Unfit {
    const { capacity } = view.node.spec;
    let misses: string[] | undefined;
    for (const dimension of DIMENSIONS) {
      const wanted = replica.requests[dimension];
      const free = capacity[dimension] - view.allocated[dimension];
      if (wanted === 0 || wanted <= free) continue;
      misses ??= [];
      misses.push(`needs ${quantityText(dimension, wanted)}, ${freeText(dimension, Math.max(0, free))}`);
    }
    return misses === undefined ? true : { reason: misses.join('; ') };
  },
};

/**
 * Compose placement constraints. Texts are parsed once: one scheduling round tests the same few texts against
 * thousands of nodes.
 */
export function constraintsFilter(): FilterPlugin {
  // Bounded: constraint texts come from service specs, and a long-lived scheduler must not keep all it ever saw.
  const limit = 1_000;
  const parsed = new Map<string, PlacementConstraint | string>();
  const read = (text: string): PlacementConstraint | string => {
    const known = parsed.get(text);
    if (known !== undefined) return known;
    let result: PlacementConstraint | string;
    try {
      result = parseConstraint(text);
    } catch (error) {
      result = errorMessage(error);
    }
    if (parsed.size >= limit) parsed.clear();
    parsed.set(text, result);
    return result;
  };
  return {
    name: 'Constraints',
    filter(replica: Replica, { node }: NodeView): true | Unfit {
      for (const text of replica.constraints) {
        const constraint = read(text);
        const miss = typeof constraint === 'string' ? constraint : constraintMiss(constraint, node);
        if (miss !== undefined) return { reason: miss };
      }
      return true;
    },
  };
}

/** Two replicas on one node cannot have the same host port. */
export const hostPortsFilter: FilterPlugin = {
  name: 'HostPorts',
  filter(replica: Replica, view: NodeView): true | Unfit {
    const taken = replica.hostPorts.filter((port) => view.hostPorts.has(port));
    return taken.length === 0 ? true : { reason: `host port ${taken.join(', ')} is in use there` };
  },
};

/** The filters {@link BestFitScheduler} uses unless told otherwise, in the order tried. */
export function defaultFilters(): readonly FilterPlugin[] {
  return [nodeReadyFilter, resourcesFilter, constraintsFilter(), hostPortsFilter];
}
