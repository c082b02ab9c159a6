// Leases: keys that vanish with their holder, and a holder that knows when.

import assert from 'node:assert/strict';
import type { StateStoreHarness } from '../state-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from '../suite.ts';
import { keysOf, put, readValue, remove, revisionOf, shown, take } from './tools.ts';

function leaseCase(
  name: string,
  body: (harness: StateStoreHarness) => Promise<void>,
): ConformanceCase<StateStoreHarness> {
  return conformanceCase(`lease: ${name}`, body);
}

const ttl = (harness: StateStoreHarness): number => harness.leaseTtlMs ?? 300;

const holderCases: readonly ConformanceCase<StateStoreHarness>[] = [
  leaseCase('keys put with it carry its id, and granting it changes nothing', async (harness) => {
    const lease = await harness.store.lease({ ttlMs: ttl(harness) });
    assert.equal(await revisionOf(harness.store), 0);
    await put(harness.store, '/a', '1', lease.id);
    assert.deepEqual((await harness.store.range({ key: '/a' })).kvs, [
      { key: '/a', value: '1', createRevision: 1, modRevision: 1, version: 1, leaseId: lease.id },
    ]);
    const owned = await harness.store.txn({
      compare: [{ key: '/a', target: 'lease', is: '=', than: lease.id }],
      success: [],
    });
    assert.equal(owned.succeeded, true);
    await lease.revoke();
  }),

  leaseCase('while it is held it is kept alive, far beyond its time to live', async (harness) => {
    const lease = await harness.store.lease({ ttlMs: ttl(harness) });
    await put(harness.store, '/a', '1', lease.id);
    for (let round = 0; round < 8; round += 1) await harness.advance(ttl(harness) / 2);
    assert.equal(lease.lost.aborted, false);
    assert.equal(await readValue(harness.store, '/a'), '1');
    await lease.revoke();
  }),

  leaseCase(
    'revoke ends it at once: its keys go in one revision, `lost` aborts, a second revoke is no error',
    async (harness) => {
      const lease = await harness.store.lease({ ttlMs: ttl(harness) });
      await put(harness.store, '/b', '2', lease.id);
      await put(harness.store, '/a', '1', lease.id);
      await put(harness.store, '/stays', '3');
      await lease.revoke();
      assert.equal(lease.lost.aborted, true);
      assert.deepEqual(await keysOf(harness.store), ['/stays']);
      assert.equal(await revisionOf(harness.store), 4);
      const [events] = await take(harness.store, { prefix: '/', fromRevision: 4 }, 1);
      assert.deepEqual(shown(events ?? []).sort(), ['delete /a', 'delete /b']);
      await lease.revoke();
      assert.equal(await revisionOf(harness.store), 4);
    },
  ),

  leaseCase('disposing of it revokes it', async (harness) => {
    {
      await using lease = await harness.store.lease({ ttlMs: ttl(harness) });
      await put(harness.store, '/a', '1', lease.id);
    }
    assert.deepEqual(await keysOf(harness.store), []);
  }),

  leaseCase('`lost` aborts when the store ended it behind the holder', async (harness) => {
    const lease = await harness.store.lease({ ttlMs: ttl(harness) });
    await harness.revokeBehind(lease.id);
    await harness.advance(ttl(harness));
    await harness.advance(ttl(harness));
    assert.equal(lease.lost.aborted, true);
  }),

  leaseCase('a put with an unknown or ended lease is LEASE_NOT_FOUND', async (harness) => {
    await rejectsWith('LEASE_NOT_FOUND', () => put(harness.store, '/a', '1', 'no-such-lease'));
    const lease = await harness.store.lease({ ttlMs: ttl(harness) });
    await lease.revoke();
    await rejectsWith('LEASE_NOT_FOUND', () => put(harness.store, '/a', '1', lease.id));
    assert.equal(await revisionOf(harness.store), 0);
  }),

  leaseCase('nonsense times to live are INVALID_ARGUMENT', async (harness) => {
    for (const ttlMs of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      await rejectsWith('INVALID_ARGUMENT', () => harness.store.lease({ ttlMs }));
    }
  }),
];

const expiryCases: readonly ConformanceCase<StateStoreHarness>[] = [
  leaseCase('one nobody keeps alive expires: its keys go in one transaction of its own', async (harness) => {
    const id = await harness.abandonedLease(ttl(harness));
    await put(harness.store, '/a', '1', id);
    await put(harness.store, '/b', '2', id);
    await put(harness.store, '/stays', '3');
    const watched = take(harness.store, { prefix: '/', fromRevision: 4 }, 1);
    await harness.advance(ttl(harness) * 3);
    const [events] = await watched;
    assert.deepEqual(shown(events ?? []).sort(), ['delete /a', 'delete /b']);
    assert.deepEqual(new Set(events?.map((event) => event.revision)), new Set([4]));
    assert.deepEqual(
      events?.map((event) => event.previous?.leaseId),
      [id, id],
    );
    assert.deepEqual(await keysOf(harness.store), ['/stays']);
    await rejectsWith('LEASE_NOT_FOUND', () => put(harness.store, '/a', '1', id));
  }),

  leaseCase('one without keys expires without a revision', async (harness) => {
    const id = await harness.abandonedLease(ttl(harness));
    await harness.advance(ttl(harness) * 3);
    assert.equal(await revisionOf(harness.store), 0);
    await rejectsWith('LEASE_NOT_FOUND', () => put(harness.store, '/a', '1', id));
  }),

  leaseCase('a key leaves it by a put without it, by a put with another, or by deletion', async (harness) => {
    const first = await harness.abandonedLease(ttl(harness));
    const second = await harness.store.lease({ ttlMs: ttl(harness) });
    for (const key of ['/free', '/moved', '/deleted', '/kept']) await put(harness.store, key, '1', first);
    await put(harness.store, '/free', '2');
    await put(harness.store, '/moved', '2', second.id);
    await remove(harness.store, '/deleted');
    await put(harness.store, '/deleted', 'again');
    assert.equal((await harness.store.range({ key: '/free' })).kvs[0]?.leaseId, undefined);
    await harness.advance(ttl(harness) * 3);
    assert.deepEqual(await keysOf(harness.store), ['/deleted', '/free', '/moved']);
    await second.revoke();
    assert.deepEqual(await keysOf(harness.store), ['/deleted', '/free']);
  }),

  leaseCase('an expiry is a change like any other: compares see it', async (harness) => {
    const id = await harness.abandonedLease(ttl(harness));
    const revision = await put(harness.store, '/a', '1', id);
    await harness.advance(ttl(harness) * 3);
    const result = await harness.store.txn({
      compare: [{ key: '/a', target: 'modRevision', is: '=', than: revision }],
      success: [],
    });
    assert.equal(result.succeeded, false);
    assert.equal(result.revision, revision + 1);
  }),
];

const endCases: readonly ConformanceCase<StateStoreHarness>[] = [
  conformanceCase(
    'close: afterwards everything is STORE_CLOSED, and its leases are lost',
    async (harness: StateStoreHarness) => {
      const { store } = harness;
      const lease = await store.lease({ ttlMs: 10_000 });
      const waiting = store.watch({ prefix: '/' })[Symbol.asyncIterator]().next();
      const ended = rejectsWith('STORE_CLOSED', () => waiting);
      await revisionOf(store);
      await store[Symbol.asyncDispose]();
      await ended;
      assert.equal(lease.lost.aborted, true);
      await rejectsWith('STORE_CLOSED', () => store.range({ key: '/a' }));
      await rejectsWith('STORE_CLOSED', () => put(store, '/a', '1'));
      await rejectsWith('STORE_CLOSED', () => store.lease({ ttlMs: 1000 }));
      await rejectsWith('STORE_CLOSED', () => store.compact(1));
      await store[Symbol.asyncDispose]();
    },
  ),
];

/** Cases of leases and of closing. */
export const leaseCases: readonly ConformanceCase<StateStoreHarness>[] = [
  ...holderCases,
  ...expiryCases,
  ...endCases,
];
