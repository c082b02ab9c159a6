// Errors of placement: which nodes were asked and what each lacked.

import { HeptadError, type Placement } from '@heptad/core';

/** Why one node did not take a replica. */
export interface NodeMiss {
  readonly node: string;
  readonly reasons: readonly string[];
}

/** How many nodes a sentence names before it only counts the rest; all of them are in `details.misses`. */
const NAMED_NODES = 5;

/** `node n1: needs 2048 MiB memory, 512 MiB free; node n2: is cordoned; and 7 more nodes`. */
export function missesText(misses: readonly NodeMiss[]): string {
  const named = misses.slice(0, NAMED_NODES).map((miss) => `node ${miss.node}: ${miss.reasons.join('; ')}`);
  const rest = misses.length - named.length;
  return [...named, ...(rest > 0 ? [`and ${rest} more node${rest === 1 ? '' : 's'}`] : [])].join('; ');
}

/** There is no node at all that is ready and schedulable. Code `NO_AVAILABLE_NODES`; `details.misses` per node. */
export class NoAvailableNodes extends HeptadError<'NO_AVAILABLE_NODES'> {
  constructor(replica: string, misses: readonly NodeMiss[]) {
    const why = misses.length === 0 ? 'the cluster has no nodes' : missesText(misses);
    super('NO_AVAILABLE_NODES', `cannot place ${replica}: no node is available (${why})`, {
      hint: 'start an agent on a machine, or uncordon a node',
      retryable: true,
      details: { misses },
    });
  }
}

/** Nodes are available, but none of them can take the replica. Code `NO_SUITABLE_NODE`; `details.misses` per node. */
export class NoSuitableNode extends HeptadError<'NO_SUITABLE_NODE'> {
  constructor(replica: string, misses: readonly NodeMiss[]) {
    super('NO_SUITABLE_NODE', `cannot place ${replica}: no node fits (${missesText(misses)})`, {
      hint: 'lower what the service requests, relax its constraints, or add a node',
      retryable: true,
      details: { misses },
    });
  }
}

/** The error that says why a placement has no node; undefined when it has one. */
export function placementError(placement: Placement): NoAvailableNodes | NoSuitableNode | undefined {
  if ('node' in placement) return undefined;
  return placement.code === 'NO_AVAILABLE_NODES'
    ? new NoAvailableNodes(placement.replica.id, placement.misses)
    : new NoSuitableNode(placement.replica.id, placement.misses);
}
