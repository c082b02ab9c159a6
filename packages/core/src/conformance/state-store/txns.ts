// Transactions: compares, branches, revisions, atomicity, limits, idempotency.

import assert from 'node:assert/strict';
import { type Compare, type Op, STATE_STORE_LIMITS } from '../../contracts/state-store.ts';
import type { StateStoreHarness } from '../state-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from '../suite.ts';
import { keysOf, put, readValue, remove, revisionOf } from './tools.ts';

function txnCase(
  name: string,
  body: (harness: StateStoreHarness) => Promise<void>,
): ConformanceCase<StateStoreHarness> {
  return conformanceCase(`txn: ${name}`, body);
}

const putOp = (key: string, value: string): Op => ({ op: 'put', key, value });

/** Concurrent increments by compare-and-set: each succeeds exactly once, and none is lost. */
async function increment(harness: StateStoreHarness, key: string, times: number): Promise<void> {
  for (let done = 0; done < times; ) {
    const read = (await harness.store.range({ key })).kvs[0];
    const result = await harness.store.txn({
      compare: [{ key, target: 'modRevision', is: '=', than: read?.modRevision ?? 0 }],
      success: [putOp(key, String(Number(read?.value ?? '0') + 1))],
    });
    if (result.succeeded) done += 1;
  }
}

const compareCases: readonly ConformanceCase<StateStoreHarness>[] = [
  txnCase(
    'compares of version, revisions, value and lease hold exactly when they should',
    async ({ store }) => {
      await put(store, '/other', 'x');
      await put(store, '/k', 'b');
      await put(store, '/k', 'b');
      // createRevision 2, modRevision 3, version 2, value "b", no lease.
      const table: [Compare, boolean][] = [
        [{ key: '/k', target: 'version', is: '=', than: 2 }, true],
        [{ key: '/k', target: 'version', is: '!=', than: 2 }, false],
        [{ key: '/k', target: 'version', is: '>', than: 1 }, true],
        [{ key: '/k', target: 'version', is: '<', than: 2 }, false],
        [{ key: '/k', target: 'createRevision', is: '=', than: 2 }, true],
        [{ key: '/k', target: 'createRevision', is: '>', than: 2 }, false],
        [{ key: '/k', target: 'modRevision', is: '=', than: 3 }, true],
        [{ key: '/k', target: 'modRevision', is: '<', than: 4 }, true],
        [{ key: '/k', target: 'value', is: '=', than: 'b' }, true],
        [{ key: '/k', target: 'value', is: '!=', than: 'b' }, false],
        [{ key: '/k', target: 'value', is: '>', than: 'a' }, true],
        [{ key: '/k', target: 'value', is: '<', than: 'b' }, false],
        [{ key: '/k', target: 'lease', is: '=', than: '' }, true],
        [{ key: '/k', target: 'lease', is: '!=', than: '' }, false],
      ];
      for (const [compare, expected] of table) {
        const { succeeded } = await store.txn({ compare: [compare], success: [] });
        assert.equal(succeeded, expected, JSON.stringify(compare));
      }
    },
  ),

  txnCase(
    'a missing key has version and revisions 0 and no lease; compares of its value never hold',
    async ({ store }) => {
      const table: [Compare, boolean][] = [
        [{ key: '/k', target: 'version', is: '=', than: 0 }, true],
        [{ key: '/k', target: 'createRevision', is: '=', than: 0 }, true],
        [{ key: '/k', target: 'modRevision', is: '=', than: 0 }, true],
        [{ key: '/k', target: 'modRevision', is: '>', than: 0 }, false],
        [{ key: '/k', target: 'value', is: '=', than: '' }, false],
        [{ key: '/k', target: 'value', is: '!=', than: 'x' }, false],
        [{ key: '/k', target: 'lease', is: '=', than: '' }, true],
      ];
      const check = async (): Promise<void> => {
        for (const [compare, expected] of table) {
          const { succeeded } = await store.txn({ compare: [compare], success: [] });
          assert.equal(succeeded, expected, JSON.stringify(compare));
        }
      };
      await check();
      await put(store, '/k', 'x');
      await remove(store, '/k');
      await check();
    },
  ),

  txnCase('all compares must hold for `success`; else `failure` runs whole', async ({ store }) => {
    await put(store, '/a', '1');
    const result = await store.txn({
      compare: [
        { key: '/a', target: 'value', is: '=', than: '1' },
        { key: '/b', target: 'version', is: '>', than: 0 },
      ],
      success: [putOp('/won', 'yes')],
      failure: [putOp('/lost', '1'), putOp('/lost2', '2'), { op: 'range', query: { key: '/a' } }],
    });
    assert.equal(result.succeeded, false);
    assert.deepEqual(await keysOf(store), ['/a', '/lost', '/lost2']);
    assert.deepEqual(result.results[2], {
      op: 'range',
      kvs: [{ key: '/a', value: '1', createRevision: 1, modRevision: 1, version: 1 }],
      more: false,
    });
  }),

  txnCase('concurrent compare-and-set increments lose none', async (harness) => {
    await Promise.all([1, 2, 3, 4].map(() => increment(harness, '/counter', 25)));
    assert.equal(await readValue(harness.store, '/counter'), '100');
    assert.equal((await harness.store.range({ key: '/counter' })).kvs[0]?.version, 100);
  }),
];

const revisionCases: readonly ConformanceCase<StateStoreHarness>[] = [
  txnCase('the first write makes revision 1, each later one exactly one more', async ({ store }) => {
    assert.equal(await put(store, '/a', '1'), 1);
    assert.equal(await put(store, '/a', '2'), 2);
    assert.equal(await put(store, '/b', '1'), 3);
  }),

  txnCase('all changes of a transaction carry the same one revision', async ({ store }) => {
    await put(store, '/gone', 'x');
    const result = await store.txn({
      compare: [],
      success: [putOp('/a', '1'), putOp('/b', '2'), { op: 'delete', key: '/gone' }],
    });
    assert.equal(result.revision, 2);
    const { kvs } = await store.range({ key: '/', prefix: true });
    assert.deepEqual(
      kvs.map((kv) => [kv.key, kv.createRevision, kv.modRevision, kv.version]),
      [
        ['/a', 2, 2, 1],
        ['/b', 2, 2, 1],
      ],
    );
  }),

  txnCase('a transaction that only reads leaves the revision', async ({ store }) => {
    await put(store, '/a', '1');
    const result = await store.txn({ compare: [], success: [{ op: 'range', query: { key: '/a' } }] });
    assert.equal(result.revision, 1);
    assert.equal((await store.txn({ compare: [], success: [] })).revision, 1);
    assert.equal(await revisionOf(store), 1);
  }),

  txnCase('deleting a missing key is not a change; deleting an existing one is', async ({ store }) => {
    await put(store, '/a', '1');
    const nothing = await remove(store, '/missing');
    assert.deepEqual(nothing, { succeeded: true, revision: 1, results: [{ op: 'delete', deleted: [] }] });
    assert.equal((await remove(store, '/a')).revision, 2);
    assert.equal((await remove(store, '/a')).revision, 2);
  }),

  txnCase('a put of the same value is a change', async ({ store }) => {
    await put(store, '/a', '1');
    assert.equal(await put(store, '/a', '1'), 2);
    assert.equal((await store.range({ key: '/a' })).kvs[0]?.version, 2);
  }),

  txnCase('createRevision and version begin anew after a deletion', async ({ store }) => {
    await put(store, '/a', '1');
    await put(store, '/a', '2');
    await remove(store, '/a');
    await put(store, '/a', '3');
    assert.deepEqual((await store.range({ key: '/a' })).kvs, [
      { key: '/a', value: '3', createRevision: 4, modRevision: 4, version: 1 },
    ]);
  }),
];

const operationCases: readonly ConformanceCase<StateStoreHarness>[] = [
  txnCase('puts answer the previous kv, deletes the deleted ones in key order', async ({ store }) => {
    await put(store, '/d/2', 'two');
    await put(store, '/d/1', 'one');
    const result = await store.txn({
      compare: [],
      success: [putOp('/new', 'n'), { op: 'delete', key: '/d/', prefix: true }],
    });
    assert.deepEqual(result.results[0], { op: 'put' });
    assert.deepEqual(result.results[1], {
      op: 'delete',
      deleted: [
        { key: '/d/1', value: 'one', createRevision: 2, modRevision: 2, version: 1 },
        { key: '/d/2', value: 'two', createRevision: 1, modRevision: 1, version: 1 },
      ],
    });
    const again = await store.txn({ compare: [], success: [putOp('/new', 'm')] });
    assert.deepEqual(again.results[0], {
      op: 'put',
      previous: { key: '/new', value: 'n', createRevision: 3, modRevision: 3, version: 1 },
    });
  }),

  txnCase('a range delete takes [key, end) only', async ({ store }) => {
    for (const key of ['a', 'b', 'c']) await put(store, key, key);
    await store.txn({ compare: [], success: [{ op: 'delete', key: 'a', end: 'c' }] });
    assert.deepEqual(await keysOf(store), ['c']);
  }),

  txnCase(
    'operations run in order: a range sees what came before it in the branch, not what comes after',
    async ({ store }) => {
      await put(store, '/a', 'old');
      const seen = { op: 'range', query: { key: '/', prefix: true } } as const;
      const result = await store.txn({
        compare: [],
        success: [seen, putOp('/b', 'new'), seen, { op: 'delete', key: '/a' }, seen],
      });
      const keys = result.results.map((r) => (r.op === 'range' ? r.kvs.map((kv) => kv.key) : []));
      assert.deepEqual(keys, [['/a'], [], ['/a', '/b'], [], ['/b']]);
    },
  ),

  txnCase('a range inside it may read an earlier revision', async ({ store }) => {
    await put(store, '/a', 'old');
    const result = await store.txn({
      compare: [],
      success: [putOp('/a', 'new'), { op: 'range', query: { key: '/a', revision: 1 } }],
    });
    const read = result.results[1];
    assert.equal(read?.op === 'range' ? read.kvs[0]?.value : undefined, 'old');
  }),

  txnCase('it is all or nothing: when one operation fails none is done', async ({ store }) => {
    await put(store, '/a', '1');
    await rejectsWith('LEASE_NOT_FOUND', () =>
      store.txn({
        compare: [],
        success: [putOp('/b', '2'), { op: 'put', key: '/c', value: '3', leaseId: 'no-such-lease' }],
      }),
    );
    await rejectsWith('FUTURE_REVISION', () =>
      store.txn({
        compare: [],
        success: [putOp('/b', '2'), { op: 'range', query: { key: '/a', revision: 99 } }],
      }),
    );
    assert.deepEqual(await keysOf(store), ['/a']);
    assert.equal(await revisionOf(store), 1);
  }),
];

const limitCases: readonly ConformanceCase<StateStoreHarness>[] = [
  txnCase(
    'a key put twice, or put and deleted, in a branch is DUPLICATE_KEY; in both branches it is fine',
    async ({ store }) => {
      const twice = [putOp('/a', '1'), putOp('/a', '2')];
      await rejectsWith('DUPLICATE_KEY', () => store.txn({ compare: [], success: twice }));
      await rejectsWith('DUPLICATE_KEY', () => store.txn({ compare: [], success: [], failure: twice }));
      await rejectsWith('DUPLICATE_KEY', () =>
        store.txn({ compare: [], success: [putOp('/a/b', '1'), { op: 'delete', key: '/a/', prefix: true }] }),
      );
      assert.equal(await revisionOf(store), 0);
      await store.txn({ compare: [], success: [putOp('/a', '1')], failure: [putOp('/a', '2')] });
      assert.equal(await readValue(store, '/a'), '1');
    },
  ),

  txnCase('128 compares and operations pass, 129 are TOO_MANY_OPERATIONS', async ({ store }) => {
    const many = (count: number): Op[] =>
      Array.from({ length: count }, (_, index) => putOp(`/k${index}`, ''));
    const one: Compare = { key: '/none', target: 'version', is: '=', than: 0 };
    const most = STATE_STORE_LIMITS.operations;
    await rejectsWith('TOO_MANY_OPERATIONS', () => store.txn({ compare: [], success: many(most + 1) }));
    await rejectsWith('TOO_MANY_OPERATIONS', () => store.txn({ compare: [one], success: many(most) }));
    await rejectsWith('TOO_MANY_OPERATIONS', () =>
      store.txn({ compare: [one], success: [], failure: many(most) }),
    );
    assert.equal((await store.txn({ compare: [], success: many(most) })).revision, 1);
    assert.equal((await keysOf(store)).length, most);
  }),

  txnCase('1.5 MiB of keys and values pass, one byte more is REQUEST_TOO_LARGE', async ({ store }) => {
    const value = (bytes: number): string => 'é'.repeat(Math.floor(bytes / 2)) + 'x'.repeat(bytes % 2);
    const room = STATE_STORE_LIMITS.requestBytes - '/k'.length;
    await rejectsWith('REQUEST_TOO_LARGE', () => put(store, '/k', value(room + 1)));
    assert.equal(await put(store, '/k', value(room)), 1);
    assert.equal((await readValue(store, '/k'))?.length, value(room).length);
  }),

  txnCase(
    'keys of 4096 bytes pass, longer ones are REQUEST_TOO_LARGE, empty ones INVALID_ARGUMENT',
    async ({ store }) => {
      const longest = `${'\u20ac'.repeat(1365)}k`;
      assert.equal(await put(store, longest, 'x'), 1);
      assert.equal(await readValue(store, longest), 'x');
      await rejectsWith('REQUEST_TOO_LARGE', () => put(store, `${longest}k`, 'x'));
      await rejectsWith('INVALID_ARGUMENT', () => put(store, '', 'x'));
      await rejectsWith('INVALID_ARGUMENT', () => put(store, '/lone\udc00', 'x'));
      await rejectsWith('INVALID_ARGUMENT', () => put(store, '/a', 'lone \ud800'));
    },
  ),
];

const idempotencyCases: readonly ConformanceCase<StateStoreHarness>[] = [
  txnCase(
    'a second one with the same requestId changes nothing and answers the first result',
    async ({ store }) => {
      const txn = {
        compare: [{ key: '/a', target: 'version', is: '=', than: 0 }],
        success: [putOp('/a', '1'), { op: 'range', query: { key: '/a' } }],
        requestId: 'request-1',
      } as const;
      const first = await store.txn(txn);
      await put(store, '/a', 'changed since');
      assert.deepEqual(await store.txn(txn), first);
      assert.equal(first.succeeded, true);
      assert.equal(await revisionOf(store), 2);
      assert.equal(await readValue(store, '/a'), 'changed since');
    },
  ),

  txnCase('concurrent ones with the same requestId are carried out once', async ({ store }) => {
    const txn = { compare: [], success: [putOp('/a', '1')], requestId: 'same' };
    const results = await Promise.all([store.txn(txn), store.txn(txn), store.txn(txn)]);
    assert.deepEqual(
      results.map((result) => result.revision),
      [1, 1, 1],
    );
    assert.equal(await revisionOf(store), 1);
  }),

  txnCase(
    'a requestId whose failure branch ran is remembered too; other ids are others',
    async ({ store }) => {
      const txn = {
        compare: [{ key: '/flag', target: 'version', is: '>', than: 0 }],
        success: [putOp('/a', 'success')],
        failure: [putOp('/a', 'failure')],
      } as const;
      const first = await store.txn({ ...txn, requestId: 'one' });
      await put(store, '/flag', 'x');
      assert.deepEqual(await store.txn({ ...txn, requestId: 'one' }), first);
      assert.equal(await readValue(store, '/a'), 'failure');
      assert.equal((await store.txn({ ...txn, requestId: 'two' })).succeeded, true);
    },
  ),

  txnCase('a rejected one leaves no memory of its requestId', async ({ store }) => {
    const bad: Op = { op: 'put', key: '/a', value: '1', leaseId: 'no-such-lease' };
    await rejectsWith('LEASE_NOT_FOUND', () =>
      store.txn({ compare: [], success: [bad], requestId: 'again' }),
    );
    const good = await store.txn({ compare: [], success: [putOp('/a', '1')], requestId: 'again' });
    assert.equal(good.revision, 1);
  }),
];

/** Cases of transactions. */
export const txnCases: readonly ConformanceCase<StateStoreHarness>[] = [
  ...compareCases,
  ...revisionCases,
  ...operationCases,
  ...limitCases,
  ...idempotencyCases,
];
