// A witness for checkpoints: the newest one also in the state store, away from the log's files.

import type { StateStore } from '@heptad/core';
import type { CheckpointWitness } from './audit-options.ts';
import { parseCheckpoint } from './checkpoint.ts';

const KEY = '/security/audit/checkpoint';

/** Keeps the newest checkpoint at `/security/audit/checkpoint`, or that followed by `/<name>`. */
export function stateStoreWitness(store: StateStore, name?: string): CheckpointWitness {
  const key = name === undefined ? KEY : `${KEY}/${name}`;
  return {
    load: async () => {
      const { kvs } = await store.range({ key });
      return kvs[0] === undefined ? undefined : parseCheckpoint(kvs[0].value);
    },
    save: async (checkpoint) => {
      await store.txn({ compare: [], success: [{ op: 'put', key, value: JSON.stringify(checkpoint) }] });
    },
  };
}
