// After a crash as primary: finding out where the reign really ended, from the store's own history.

import { isHeptadError, type StateStore } from '@heptad/core';
import { opsOf } from '../replicate/entry.ts';
import { byRevision } from '../replicate/feed.ts';
import type { LocalState } from './local-state.ts';

/**
 * Closes a reign that a crash left open, so that this copy's position is exact and the next primary can tell whether its
 * last writes are in the common history. Does nothing when there is none.
 */
export async function sealBrokenReign(store: StateStore, local: LocalState): Promise<void> {
  const last = local.reigns.at(-1);
  if (last === undefined || last.to !== undefined) return;
  const { revision } = await store.range({ key: '/', limit: 1 });
  const found = await lastReplicated(store, last.from, revision);
  const earlier = local.reigns.slice(0, -1);
  // The crash came before the reign's first record: there was no reign.
  if (found === undefined) return local.setReigns(earlier);
  const position = { generation: last.generation, revision: found.revision };
  await local.setReigns([...earlier, { ...last, to: found.revision }], {
    ...local.applied,
    position,
    bytes: local.applied.bytes + found.bytes,
  });
}

async function lastReplicated(
  store: StateStore,
  from: number,
  to: number,
): Promise<{ readonly revision: number; readonly bytes: number } | undefined> {
  if (to < from) return undefined;
  let last: number | undefined;
  let bytes = 0;
  const stop = new AbortController();
  try {
    for await (const events of store.watch({ prefix: '', fromRevision: from, signal: stop.signal })) {
      for (const [revision, own] of byRevision(events)) {
        const ops = opsOf(own);
        if (ops.length > 0) last = revision;
        for (const op of ops) bytes += op.key.length + (op.op === 'put' ? op.value.length : 0);
        if (revision >= to) {
          stop.abort();
          return last === undefined ? undefined : { revision: last, bytes };
        }
      }
    }
  } catch (error) {
    // The history is gone. Claiming the latest revision is safe: at worst this copy is rebuilt without need.
    if (!isHeptadError(error, 'COMPACTED')) throw error;
    return { revision: to, bytes };
  }
  return last === undefined ? undefined : { revision: last, bytes };
}
