// A new primary's first act: the nodes of other centres serve nobody any more, so their replicas are started here at once,
// without waiting for heartbeats that cannot come.

import { Resources, type StateStore } from '@heptad/core';
import { agentKey } from '../server/agents.ts';

/** Label of a node: the centre it stands in. */
export const CENTER_LABEL = 'heptad.io/center';

/** Removes the nodes of other centres; resolves with their names. */
export async function retireForeignNodes(store: StateStore, self: string): Promise<string[]> {
  const nodes = new Resources(store, 'Node');
  const foreign = (await nodes.list()).items.filter(({ labels }) => labels[CENTER_LABEL] !== self);
  for (const { name } of foreign) {
    await nodes.remove(name);
    await store.txn({ compare: [], success: [{ op: 'delete', key: agentKey(name) }] });
  }
  return foreign.map(({ name }) => name);
}
