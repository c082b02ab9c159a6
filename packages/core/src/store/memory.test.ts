// MemoryStateStore against the contract's suite, and what is its own.

import { describe, expect, it } from 'vitest';
import { stateStoreConformance } from '../conformance/index.ts';
import { VirtualClock } from '../sim/virtual-clock.ts';
import { MemoryStateStore, REQUEST_ID_MEMORY_MS } from './memory.ts';

function harness() {
  const clock = new VirtualClock();
  const store = new MemoryStateStore({ clock });
  return {
    store,
    clock,
    advance: (ms: number) => clock.advance(ms),
    abandonedLease: async (ttlMs: number) => (await store.grantLease({ ttlMs })).id,
    revokeBehind: (id: string) => store.revokeLease(id),
    [Symbol.asyncDispose]: () => store.close(),
  };
}

describe('MemoryStateStore conforms to StateStore', () => {
  for (const { name, run } of stateStoreConformance) it(name, () => run(async () => harness()));
});

describe('MemoryStateStore', () => {
  it('remembers a requestId for ten minutes', async () => {
    const { store, clock } = harness();
    const txn = { compare: [], success: [{ op: 'put', key: '/a', value: '1' }], requestId: 'x' } as const;
    await store.txn(txn);
    await clock.advance(REQUEST_ID_MEMORY_MS);
    expect((await store.txn(txn)).revision).toBe(1);
    await clock.advance(1);
    expect((await store.txn(txn)).revision).toBe(2);
    await store.close();
  });
});
