// Compaction: what goes, what stays, and which error says so.

import assert from 'node:assert/strict';
import type { StateStoreHarness } from '../state-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from '../suite.ts';
import { keysOf, put, readValue, remove, shown, take } from './tools.ts';

function compactCase(
  name: string,
  body: (harness: StateStoreHarness) => Promise<void>,
): ConformanceCase<StateStoreHarness> {
  return conformanceCase(`compact: ${name}`, body);
}

/** Revisions 1..5: /a=1, /b=1, /a=2, delete /b, /c=1. */
async function fill({ store }: StateStoreHarness): Promise<void> {
  await put(store, '/a', '1');
  await put(store, '/b', '1');
  await put(store, '/a', '2');
  await remove(store, '/b');
  await put(store, '/c', '1');
}

async function nextOf(harness: StateStoreHarness, fromRevision: number): Promise<unknown> {
  for await (const events of harness.store.watch({ prefix: '', fromRevision })) return events;
  return 'ended';
}

/** Cases of compaction. */
export const historyCases: readonly ConformanceCase<StateStoreHarness>[] = [
  compactCase('live keys stay, whatever their age', async (harness) => {
    await fill(harness);
    await harness.store.compact(5);
    assert.deepEqual(await keysOf(harness.store), ['/a', '/c']);
    assert.deepEqual((await harness.store.range({ key: '/a' })).kvs, [
      { key: '/a', value: '2', createRevision: 1, modRevision: 3, version: 2 },
    ]);
    assert.equal(await put(harness.store, '/a', '3'), 6);
  }),

  compactCase(
    'earlier revisions are COMPACTED with the compactRevision; from it on everything can be read',
    async (harness) => {
      await fill(harness);
      await harness.store.compact(3);
      for (const revision of [0, 1, 2]) {
        const error = await rejectsWith('COMPACTED', () =>
          harness.store.range({ key: '/', prefix: true, revision }),
        );
        assert.equal(error.details.compactRevision, 3);
      }
      const at = async (revision: number): Promise<string[]> =>
        (await harness.store.range({ key: '/', prefix: true, revision })).kvs.map(
          (kv) => `${kv.key}=${kv.value}`,
        );
      assert.deepEqual(await at(3), ['/a=2', '/b=1']);
      assert.deepEqual(await at(4), ['/a=2']);
      assert.deepEqual(await at(5), ['/a=2', '/c=1']);
    },
  ),

  compactCase('a range inside a transaction is COMPACTED too, and nothing is done', async (harness) => {
    await fill(harness);
    await harness.store.compact(4);
    await rejectsWith('COMPACTED', () =>
      harness.store.txn({
        compare: [],
        success: [
          { op: 'put', key: '/x', value: '1' },
          { op: 'range', query: { key: '/a', revision: 1 } },
        ],
      }),
    );
    assert.equal(await readValue(harness.store, '/x'), undefined);
  }),

  compactCase('a watch from before it is COMPACTED with the compactRevision', async (harness) => {
    await fill(harness);
    await harness.store.compact(4);
    const error = await rejectsWith('COMPACTED', () => nextOf(harness, 3));
    assert.equal(error.details.compactRevision, 4);
  }),

  compactCase(
    'a watch from the compacted revision itself sees it whole, deletions and previous values included',
    async (harness) => {
      await fill(harness);
      await harness.store.compact(4);
      const [first, second] = await take(harness.store, { prefix: '/', fromRevision: 4 }, 2);
      assert.deepEqual(first, [
        {
          type: 'delete',
          key: '/b',
          revision: 4,
          previous: { key: '/b', value: '1', createRevision: 2, modRevision: 2, version: 1 },
        },
      ]);
      assert.deepEqual(shown(second ?? []), ['put /c=1']);
    },
  ),

  compactCase('twice to the same revision, or to an earlier one, is COMPACTED', async (harness) => {
    await fill(harness);
    await harness.store.compact(3);
    await rejectsWith('COMPACTED', () => harness.store.compact(3));
    await rejectsWith('COMPACTED', () => harness.store.compact(1));
    await harness.store.compact(4);
  }),

  compactCase(
    'beyond the present revision is FUTURE_REVISION; nonsense is INVALID_ARGUMENT',
    async (harness) => {
      await fill(harness);
      await rejectsWith('FUTURE_REVISION', () => harness.store.compact(6));
      await rejectsWith('INVALID_ARGUMENT', () => harness.store.compact(-1));
      await rejectsWith('INVALID_ARGUMENT', () => harness.store.compact(1.5));
    },
  ),

  compactCase('a key deleted before it and made again has no trace of its first life', async (harness) => {
    await put(harness.store, '/a', '1');
    await remove(harness.store, '/a');
    await put(harness.store, '/b', '1');
    await harness.store.compact(3);
    await put(harness.store, '/a', '2');
    assert.deepEqual((await harness.store.range({ key: '/a' })).kvs, [
      { key: '/a', value: '2', createRevision: 4, modRevision: 4, version: 1 },
    ]);
    const [events] = await take(harness.store, { prefix: '/a', fromRevision: 4 }, 1);
    assert.equal(events?.[0]?.previous, undefined);
  }),
];
