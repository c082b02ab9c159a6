// Which replicas to let go first.

import type { ContainerResource } from '@heptad/core';
import type { Draft } from './state.ts';

/**
 * Whom to let go first: those without a node, then those that do not run, then those that are not ready, then those on
 * nodes to be emptied, then those that share a node with most others of their kind, then the highest slot.
 */
export function byRemovalOrder(draft: Draft, containers: readonly ContainerResource[]): ContainerResource[] {
  const perNode = new Map<string, number>();
  for (const { spec } of containers) {
    if (spec.node !== undefined) perNode.set(spec.node, (perNode.get(spec.node) ?? 0) + 1);
  }
  const rank = (container: ContainerResource): number[] => {
    const { node } = container.spec;
    const resource = node === undefined ? undefined : draft.nodes.get(node);
    return [
      node === undefined ? 0 : 1,
      container.status.status === 'Running' ? 1 : 0,
      container.status.ready ? 1 : 0,
      resource?.spec.draining === true || resource?.status.status !== 'Ready' ? 0 : 1,
      -(node === undefined ? 0 : (perNode.get(node) ?? 0)),
      -container.spec.slot,
    ];
  };
  return containers
    .map((container) => ({ container, rank: rank(container) }))
    .sort((a, b) => {
      for (const [index, value] of a.rank.entries()) {
        const difference = value - (b.rank[index] ?? 0);
        if (difference !== 0) return difference;
      }
      return a.container.name < b.container.name ? -1 : 1;
    })
    .map(({ container }) => container);
}
