// The ObjectStore contract made executable.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { CONSISTENCY_LEVELS, type ObjectInfo, type ObjectStore } from '../contracts/object-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from './suite.ts';

/** A fresh, empty store with all its nodes up. */
export interface ObjectStoreHarness extends AsyncDisposable {
  readonly store: ObjectStore;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** Bytes of every value, `length` of them. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
}

async function collect(infos: AsyncIterable<ObjectInfo>): Promise<string[]> {
  const keys: string[] = [];
  for await (const info of infos) keys.push(info.key);
  return keys;
}

function objectCase(
  name: string,
  body: (store: ObjectStore) => Promise<void>,
): ConformanceCase<ObjectStoreHarness> {
  return conformanceCase(name, ({ store }) => body(store));
}

const readWriteCases: readonly ConformanceCase<ObjectStoreHarness>[] = [
  objectCase('what was put is got, byte for byte, with its facts', async (store) => {
    for (const length of [0, 1, 255, 70_000, 3_000_000]) {
      const body = pattern(length);
      const info = await store.put('data', `k${length}`, body, { metadata: { made: 'here' } });
      const read = await store.get('data', `k${length}`);
      assert.ok(Buffer.from(read.body).equals(Buffer.from(body)), `${length} bytes`);
      assert.deepEqual(read.info, info);
      assert.equal(info.sizeBytes, length);
      assert.equal(info.sha256, sha256(body));
      assert.deepEqual(info.metadata, { made: 'here' });
      assert.deepEqual(await store.head('data', `k${length}`), info);
    }
  }),

  objectCase('text and streams are stored as their bytes', async (store) => {
    await store.put('data', 'text', 'héllo');
    assert.equal(text((await store.get('data', 'text')).body), 'héllo');
    async function* stream(): AsyncGenerator<Uint8Array> {
      for (let part = 0; part < 10; part += 1) yield Buffer.from(`part ${part};`);
    }
    const info = await store.put('data', 'stream', stream());
    const whole = Array.from({ length: 10 }, (_, part) => `part ${part};`).join('');
    assert.equal(text((await store.get('data', 'stream')).body), whole);
    assert.equal(info.sha256, sha256(whole));
  }),

  objectCase('a missing object is OBJECT_NOT_FOUND, for get and head', async (store) => {
    await store.put('data', 'there', 'x');
    for (const [bucket, key] of [
      ['data', 'missing'],
      ['nowhere', 'there'],
    ] as const) {
      await rejectsWith('OBJECT_NOT_FOUND', () => store.get(bucket, key));
      await rejectsWith('OBJECT_NOT_FOUND', () => store.head(bucket, key));
    }
  }),

  objectCase(
    'a put replaces the whole object, its metadata included, and changes the etag',
    async (store) => {
      const first = await store.put('data', 'k', 'long first content', { metadata: { a: '1' } });
      const second = await store.put('data', 'k', 'short');
      assert.notEqual(second.etag, first.etag);
      const read = await store.get('data', 'k');
      assert.equal(text(read.body), 'short');
      assert.deepEqual(read.info.metadata, {});
    },
  ),

  objectCase('deleting removes it; deleting a missing object is no error', async (store) => {
    await store.put('data', 'k', 'x');
    await store.delete('data', 'k');
    await rejectsWith('OBJECT_NOT_FOUND', () => store.get('data', 'k'));
    await store.delete('data', 'k');
    await store.delete('never', 'k');
    await store.put('data', 'k', 'again');
    assert.equal(text((await store.get('data', 'k')).body), 'again');
  }),

  objectCase('a range is inclusive at both ends; without end it goes to the last byte', async (store) => {
    await store.put('data', 'k', '0123456789');
    const range = async (start: number, end?: number): Promise<string> =>
      text((await store.get('data', 'k', { range: { start, ...(end === undefined ? {} : { end }) } })).body);
    assert.equal(await range(2, 5), '2345');
    assert.equal(await range(7), '789');
    assert.equal(await range(9, 9), '9');
    assert.equal(await range(5, 99), '56789');
  }),

  objectCase('buckets are separate', async (store) => {
    await store.put('one', 'k', '1');
    await store.put('two', 'k', '2');
    assert.equal(text((await store.get('one', 'k')).body), '1');
    assert.equal(text((await store.get('two', 'k')).body), '2');
  }),

  objectCase('malformed names are refused', async (store) => {
    for (const bucket of ['', 'ab', 'UPPER', 'a/b', 'x'.repeat(64)]) {
      await assert.rejects(store.put(bucket, 'k', 'x'), `bucket "${bucket}"`);
    }
    for (const key of ['', 'k'.repeat(1025), '€'.repeat(342)]) {
      await assert.rejects(store.put('data', key, 'x'), `key of ${key.length}`);
    }
    for (const key of ['a/b/../c', 'sp ace', '€😀', '?#%', 'k'.repeat(1024)]) {
      await store.put('data', key, key);
      assert.equal(text((await store.get('data', key)).body), key);
    }
  }),
];

const conditionCases: readonly ConformanceCase<ObjectStoreHarness>[] = [
  objectCase('ifNoneMatch * writes only where nothing is', async (store) => {
    await store.put('data', 'k', 'first', { ifNoneMatch: '*' });
    await rejectsWith('PRECONDITION_FAILED', () => store.put('data', 'k', 'second', { ifNoneMatch: '*' }));
    assert.equal(text((await store.get('data', 'k')).body), 'first');
    await store.delete('data', 'k');
    await store.put('data', 'k', 'third', { ifNoneMatch: '*' });
  }),

  objectCase('ifMatch writes and deletes only over that etag', async (store) => {
    const first = await store.put('data', 'k', 'first');
    const second = await store.put('data', 'k', 'second', { ifMatch: first.etag });
    await rejectsWith('PRECONDITION_FAILED', () => store.put('data', 'k', 'x', { ifMatch: first.etag }));
    await rejectsWith('PRECONDITION_FAILED', () => store.put('data', 'new', 'x', { ifMatch: first.etag }));
    await rejectsWith('PRECONDITION_FAILED', () => store.delete('data', 'k', { ifMatch: first.etag }));
    assert.equal(text((await store.get('data', 'k')).body), 'second');
    await store.delete('data', 'k', { ifMatch: second.etag });
    await rejectsWith('OBJECT_NOT_FOUND', () => store.head('data', 'k'));
  }),

  objectCase('of several creations at once exactly one wins', async (store) => {
    const outcomes = await Promise.allSettled(
      [1, 2, 3, 4].map((n) => store.put('data', 'race', `writer ${n}`, { ifNoneMatch: '*' })),
    );
    const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    assert.equal(won.length, 1);
    assert.equal((await store.head('data', 'race')).etag, won[0]?.etag);
  }),
];

const consistencyCases: readonly ConformanceCase<ObjectStoreHarness>[] = [
  objectCase(
    'every consistency level writes and, with all nodes up, reads in a session what it wrote',
    async (store) => {
      for (const consistency of CONSISTENCY_LEVELS) {
        const session = { tags: new Map<string, string>() };
        for (let round = 0; round < 5; round += 1) {
          await store.put('data', consistency, `round ${round}`, { consistency, session });
          const read = await store.get('data', consistency, { consistency: 'read-your-writes', session });
          assert.equal(text(read.body), `round ${round}`);
        }
      }
    },
  ),

  objectCase('a strong read sees every strong write before it', async (store) => {
    for (let round = 0; round < 20; round += 1) {
      await store.put('data', 'k', `round ${round}`, { consistency: 'strong' });
      assert.equal(text((await store.get('data', 'k', { consistency: 'strong' })).body), `round ${round}`);
    }
    await store.delete('data', 'k', { consistency: 'strong' });
    await rejectsWith('OBJECT_NOT_FOUND', () => store.get('data', 'k', { consistency: 'strong' }));
  }),

  objectCase('concurrent writes of one key leave exactly one of them, whole', async (store) => {
    const bodies = Array.from({ length: 8 }, (_, n) => `${n}`.repeat(50_000));
    await Promise.all(bodies.map((body) => store.put('data', 'k', body)));
    const read = await store.get('data', 'k');
    assert.ok(bodies.includes(text(read.body)), 'a mixture');
    assert.equal(read.info.sha256, sha256(read.body));
  }),
];

const listCases: readonly ConformanceCase<ObjectStoreHarness>[] = [
  objectCase('list is in key order, by prefix, after a key, up to a limit', async (store) => {
    for (const key of ['b/2', 'a', 'b/1', 'c', 'b/10']) await store.put('data', key, key);
    assert.deepEqual(await collect(store.list('data')), ['a', 'b/1', 'b/10', 'b/2', 'c']);
    assert.deepEqual(await collect(store.list('data', { prefix: 'b/' })), ['b/1', 'b/10', 'b/2']);
    assert.deepEqual(await collect(store.list('data', { after: 'b/10' })), ['b/2', 'c']);
    assert.deepEqual(await collect(store.list('data', { prefix: 'b/', after: 'b/1', limit: 1 })), ['b/10']);
    assert.deepEqual(await collect(store.list('empty')), []);
  }),

  objectCase(
    'list shows neither deleted objects nor other buckets, and the facts are right',
    async (store) => {
      const kept = await store.put('data', 'kept', 'x');
      await store.put('data', 'gone', 'x');
      await store.put('other', 'elsewhere', 'x');
      await store.delete('data', 'gone');
      const infos: ObjectInfo[] = [];
      for await (const info of store.list('data')) infos.push(info);
      assert.deepEqual(infos, [kept]);
    },
  ),

  objectCase('list shows all of many', async (store) => {
    const keys = Array.from({ length: 120 }, (_, n) => `k${String(n).padStart(4, '0')}`);
    await Promise.all(keys.map((key) => store.put('data', key, key)));
    assert.deepEqual(await collect(store.list('data')), keys);
  }),
];

/** Cases for any {@link ObjectStore}; the factory gives a fresh, empty one each time. */
export const objectStoreConformance: readonly ConformanceCase<ObjectStoreHarness>[] = [
  ...readWriteCases,
  ...conditionCases,
  ...consistencyCases,
  ...listCases,
];
