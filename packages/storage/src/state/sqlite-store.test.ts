// SqliteStateStore against the contract's suite.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stateStoreConformance } from '@heptad/core/conformance';
import { VirtualClock } from '@heptad/core/sim';
import { describe, it } from 'vitest';
import { SqliteStateStore } from './sqlite-store.ts';

describe('SqliteStateStore conforms to StateStore', () => {
  for (const { name, run } of stateStoreConformance) {
    it(name, () =>
      run(async () => {
        const directory = await mkdtemp(join(tmpdir(), 'heptad-state-'));
        const clock = new VirtualClock();
        const store = new SqliteStateStore({ path: join(directory, 'state.db'), clock });
        return {
          store,
          advance: (ms: number) => clock.advance(ms),
          abandonedLease: async (ttlMs: number) => (await store.grantLease({ ttlMs })).id,
          revokeBehind: (id: string) => store.revokeLease(id),
          [Symbol.asyncDispose]: async () => {
            await store.close();
            await rm(directory, { recursive: true });
          },
        };
      }),
    );
  }
});
