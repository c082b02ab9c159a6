// A rebuild makes a copy equal to the original, and so does what hangs on its keys.

import { MemoryStateStore } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { LocalState } from '../center/local-state.ts';
import type { EntryOp, Rebuild } from '../center/messages.ts';
import { Applier, type Divergence } from './applier.ts';
import { digestOf } from './digest.ts';

async function storeWith(values: Readonly<Record<string, string>>): Promise<MemoryStateStore> {
  const store = new MemoryStateStore();
  for (const [key, value] of Object.entries(values))
    await store.txn({ compare: [], success: [{ op: 'put', key, value }] });
  return store;
}

describe('a rebuild', () => {
  it('tells of keys that go before they go, as objects go with their records', async () => {
    const original = await storeWith({ '/a': '1', '/b': '2' });
    const copy = await storeWith({ '/a': '1', '/b': 'other', '/dr/objects/orders/1': 'only here' });
    const told: EntryOp[] = [];
    const divergences: Divergence[] = [];
    const local = await LocalState.load(copy);
    await local.apply([], { ...local.applied, position: { generation: 1, revision: 9 } });
    const applier = new Applier(
      copy,
      local,
      {
        beforeApply: async (ops) => void told.push(...ops),
        onDivergence: (divergence) => divergences.push(divergence),
      },
      (_, action) => action(),
    );
    const step = (part: Partial<Rebuild> & Pick<Rebuild, 'phase'>): Promise<void> =>
      applier.rebuild({
        from: 'north',
        generation: 2,
        after: '',
        kvs: [],
        position: { generation: 2, revision: 5 },
        bytes: 4,
        ...part,
      });
    await step({ phase: 'begin' });
    await step({
      phase: 'page',
      kvs: [
        { key: '/a', value: '1' },
        { key: '/b', value: '2' },
      ],
    });
    await step({ phase: 'end', digest: await digestOf(original) });
    expect(await digestOf(copy)).toBe(await digestOf(original));
    expect(told).toContainEqual({ op: 'delete', key: '/dr/objects/orders/1' });
    expect(divergences).toMatchObject([{ changedKeys: 2, keys: ['/dr/objects/orders/1', '/b'] }]);
  });
});
