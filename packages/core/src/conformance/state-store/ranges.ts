// Range reads: order, prefixes, ends, limits, snapshots.

import assert from 'node:assert/strict';
import { STATE_STORE_LIMITS } from '../../contracts/state-store.ts';
import type { StateStoreHarness } from '../state-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from '../suite.ts';
import { keysOf, put, remove, revisionOf } from './tools.ts';

function rangeCase(
  name: string,
  body: (harness: StateStoreHarness) => Promise<void>,
): ConformanceCase<StateStoreHarness> {
  return conformanceCase(`range: ${name}`, body);
}

/** Cases of range reads. */
export const rangeCases: readonly ConformanceCase<StateStoreHarness>[] = [
  rangeCase('an empty store is at revision 0 and has no keys', async ({ store }) => {
    assert.deepEqual(await store.range({ key: '', prefix: true }), { kvs: [], revision: 0, more: false });
  }),

  rangeCase('a missing key answers no kvs, not an error', async ({ store }) => {
    await put(store, '/a', '1');
    assert.deepEqual(await store.range({ key: '/b' }), { kvs: [], revision: 1, more: false });
  }),

  rangeCase('a key alone does not match longer keys', async ({ store }) => {
    await put(store, '/a', '1');
    await put(store, '/a/b', '2');
    assert.deepEqual(
      (await store.range({ key: '/a' })).kvs.map((kv) => kv.key),
      ['/a'],
    );
  }),

  rangeCase('a prefix matches every key that begins with it, and no other', async ({ store }) => {
    for (const key of ['/a', '/a/1', '/a/2', '/ab', '/b', 'z']) await put(store, key, key);
    const read = await store.range({ key: '/a/', prefix: true });
    assert.deepEqual(
      read.kvs.map((kv) => kv.key),
      ['/a/1', '/a/2'],
    );
  }),

  rangeCase('`end` is exclusive', async ({ store }) => {
    for (const key of ['a', 'b', 'c', 'd']) await put(store, key, key);
    const read = await store.range({ key: 'b', end: 'd' });
    assert.deepEqual(
      read.kvs.map((kv) => kv.key),
      ['b', 'c'],
    );
    assert.deepEqual((await store.range({ key: 'd', end: 'b' })).kvs, []);
  }),

  rangeCase('keys come in the order of their UTF-8 bytes', async ({ store }) => {
    // U+FF5E comes before U+1F600 in bytes, but after its surrogates in UTF-16 units.
    const sorted = ['/A', '/a', '/a\u0000', '/a!', '/aa', '/\u00e9', '/\u20ac', '/\uff5e', '/\u{1f600}'];
    for (const key of [...sorted].reverse()) await put(store, key, 'x');
    assert.deepEqual(await keysOf(store), sorted);
    const astral = await store.range({ key: '/\uff5e', end: '/\u{1f601}' });
    assert.deepEqual(
      astral.kvs.map((kv) => kv.key),
      ['/\uff5e', '/\u{1f600}'],
    );
  }),

  rangeCase('a limit cuts in key order and `more` says so', async ({ store }) => {
    for (const key of ['/3', '/1', '/2']) await put(store, key, key);
    const two = await store.range({ key: '/', prefix: true, limit: 2 });
    assert.deepEqual(
      two.kvs.map((kv) => kv.key),
      ['/1', '/2'],
    );
    assert.equal(two.more, true);
    const three = await store.range({ key: '/', prefix: true, limit: 3 });
    assert.equal(three.kvs.length, 3);
    assert.equal(three.more, false);
  }),

  rangeCase(
    'reads as of an earlier revision see that snapshot; `revision` says the present one',
    async ({ store }) => {
      await put(store, '/a', '1');
      await put(store, '/b', '1');
      await put(store, '/a', '2');
      await remove(store, '/b');
      const at = async (revision: number): Promise<string[]> =>
        (await store.range({ key: '/', prefix: true, revision })).kvs.map((kv) => `${kv.key}=${kv.value}`);
      assert.deepEqual(await at(0), []);
      assert.deepEqual(await at(1), ['/a=1']);
      assert.deepEqual(await at(2), ['/a=1', '/b=1']);
      assert.deepEqual(await at(3), ['/a=2', '/b=1']);
      assert.deepEqual(await at(4), ['/a=2']);
      const past = await store.range({ key: '/b', revision: 2 });
      assert.equal(past.revision, 4);
      assert.deepEqual(past.kvs, [{ key: '/b', value: '1', createRevision: 2, modRevision: 2, version: 1 }]);
    },
  ),

  rangeCase('a past snapshot can be paged: limit and more hold there too', async ({ store }) => {
    for (const key of ['/1', '/2', '/3']) await put(store, key, 'old');
    await remove(store, '/1');
    await put(store, '/0', 'new');
    const page = await store.range({ key: '/', prefix: true, revision: 3, limit: 2 });
    assert.deepEqual(
      page.kvs.map((kv) => kv.key),
      ['/1', '/2'],
    );
    assert.equal(page.more, true);
  }),

  rangeCase('a revision newer than now is FUTURE_REVISION', async ({ store }) => {
    await put(store, '/a', '1');
    await rejectsWith('FUTURE_REVISION', () => store.range({ key: '/a', revision: 2 }));
  }),

  rangeCase('values are exact Unicode text, the empty text included', async ({ store }) => {
    const values = ['', ' ', '\u0000', 'line\nline\r\n', '\u{1f600}é', '{"a":1}', '"', 'x'.repeat(100_000)];
    for (const [index, value] of values.entries()) await put(store, `/v${index}`, value);
    for (const [index, value] of values.entries()) {
      assert.equal((await store.range({ key: `/v${index}` })).kvs[0]?.value, value);
    }
  }),

  rangeCase('malformed queries are INVALID_ARGUMENT', async ({ store }) => {
    const bad = [
      { key: '' },
      { key: '/a', end: '/b', prefix: true },
      { key: '/a', limit: 0 },
      { key: '/a', limit: 1.5 },
      { key: '/a', revision: -1 },
      { key: '/\ud800' },
    ];
    for (const query of bad) await rejectsWith('INVALID_ARGUMENT', () => store.range(query));
    const long = 'k'.repeat(STATE_STORE_LIMITS.keyBytes + 1);
    await rejectsWith('REQUEST_TOO_LARGE', () => store.range({ key: long }));
    assert.equal(await revisionOf(store), 0);
  }),
];
