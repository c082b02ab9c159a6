// Watches, judged as etcd's robustness suite judges them: Filter, Ordered, Unique, Atomic, Bookmarkable, Resumable,
// IsCreate, Reliable, PrevKV. Source: etcd tests/robustness/validate/watch.go.

import assert from 'node:assert/strict';
import type { KeyValue, StateStore, WatchEvent } from '../../contracts/state-store.ts';
import type { StateStoreHarness } from '../state-store.ts';
import { type ConformanceCase, conformanceCase, rejectsWith } from '../suite.ts';
import { keyOf, put, remove, revisionOf, shown, take } from './tools.ts';

function watchCase(
  name: string,
  body: (harness: StateStoreHarness) => Promise<void>,
): ConformanceCase<StateStoreHarness> {
  return conformanceCase(`watch: ${name}`, body);
}

/** A fixed, mixed history of 40 transactions over 7 keys: puts, deletes of present and missing keys, several at once. */
async function traffic(store: StateStore): Promise<void> {
  for (let step = 0; step < 40; step += 1) {
    const one = `/t/${step % 7}`;
    const two = `/t/${(step * 3 + 1) % 7}`;
    const other = `/u/${step % 3}`;
    await store.txn({
      compare: [{ key: one, target: 'version', is: step % 5 === 4 ? '>' : '=', than: 0 }],
      success:
        step % 5 === 4
          ? [{ op: 'delete', key: one }]
          : [
              { op: 'put', key: one, value: `v${step}` },
              { op: 'put', key: other, value: `o${step}` },
            ],
      failure:
        one === two
          ? []
          : [
              { op: 'put', key: one, value: `w${step}` },
              { op: 'delete', key: two },
            ],
    });
  }
}

/** The history as range reads of every single revision show it: what a watch must agree with. */
async function expectedEvents(store: StateStore, prefix: string): Promise<Map<number, Map<string, string>>> {
  const last = await revisionOf(store);
  const expected = new Map<number, Map<string, string>>();
  let before = new Map<string, KeyValue>();
  for (let revision = 1; revision <= last; revision += 1) {
    const { kvs } = await store.range({ key: prefix, prefix: true, revision });
    const now = new Map(kvs.map((kv) => [kv.key, kv]));
    const changes = new Map<string, string>();
    for (const kv of kvs) if (kv.modRevision === revision) changes.set(kv.key, `put ${kv.value}`);
    for (const key of before.keys()) if (!now.has(key)) changes.set(key, 'delete');
    if (changes.size > 0) expected.set(revision, changes);
    before = now;
  }
  return expected;
}

async function whole(
  store: StateStore,
  prefix: string,
): Promise<{ batches: (readonly WatchEvent[])[]; expected: Map<number, Map<string, string>> }> {
  await traffic(store);
  const expected = await expectedEvents(store, prefix);
  const batches = await take(store, { prefix, fromRevision: 1 }, expected.size);
  return { batches, expected };
}

const validatorCases: readonly ConformanceCase<StateStoreHarness>[] = [
  watchCase('Filter: only events of the prefix', async ({ store }) => {
    const { batches } = await whole(store, '/t/');
    for (const event of batches.flat()) assert.ok(keyOf(event).startsWith('/t/'), keyOf(event));
  }),

  watchCase('Ordered: revisions never go back', async ({ store }) => {
    const { batches } = await whole(store, '/');
    let last = 0;
    for (const event of batches.flat()) {
      assert.ok(event.revision >= last, `${event.revision} after ${last}`);
      last = event.revision;
    }
  }),

  watchCase('Unique: no key appears twice at one revision', async ({ store }) => {
    const { batches } = await whole(store, '/');
    const seen = new Set<string>();
    for (const event of batches.flat()) {
      const identity = `${event.revision} ${keyOf(event)}`;
      assert.ok(!seen.has(identity), `${identity} came twice`);
      seen.add(identity);
    }
  }),

  watchCase(
    'Atomic: all matching events of a revision come in one array, and only those',
    async ({ store }) => {
      const { batches, expected } = await whole(store, '/');
      for (const batch of batches) {
        const revisions = new Set(batch.map((event) => event.revision));
        assert.equal(revisions.size, 1, `an array mixes revisions ${[...revisions].join(', ')}`);
        const revision = batch[0]?.revision ?? 0;
        assert.equal(batch.length, expected.get(revision)?.size, `revision ${revision} came in parts`);
      }
    },
  ),

  watchCase('Reliable: no event of the history is missing or invented', async ({ store }) => {
    const { batches, expected } = await whole(store, '/');
    const got = new Map(
      batches.map((batch) => [
        batch[0]?.revision ?? 0,
        new Map(
          batch.map((event) => [keyOf(event), event.type === 'put' ? `put ${event.kv.value}` : 'delete']),
        ),
      ]),
    );
    assert.deepEqual(got, expected);
  }),

  watchCase('Bookmarkable: what came up to a revision is all there was up to it', async ({ store }) => {
    await traffic(store);
    const expected = await expectedEvents(store, '/');
    const stop = new AbortController();
    const seen: number[] = [];
    for await (const batch of store.watch({ prefix: '/', fromRevision: 1, signal: stop.signal })) {
      const bookmark = batch[0]?.revision ?? 0;
      seen.push(bookmark);
      const due = [...expected.keys()].filter((revision) => revision <= bookmark);
      assert.deepEqual(seen, due, `at bookmark ${bookmark}`);
      if (seen.length === expected.size) stop.abort();
    }
  }),

  watchCase(
    'Resumable: from any revision on it shows exactly what a longer watch shows from there',
    async ({ store }) => {
      const { batches } = await whole(store, '/');
      const last = await revisionOf(store);
      for (let from = 1; from <= last; from += 3) {
        const tail = batches.filter((batch) => (batch[0]?.revision ?? 0) >= from);
        if (tail.length === 0) continue;
        assert.deepEqual(await take(store, { prefix: '/', fromRevision: from }, tail.length), tail);
      }
    },
  ),

  watchCase('IsCreate: a put is a creation exactly when the key was not there', async ({ store }) => {
    const { batches } = await whole(store, '/');
    const live = new Set<string>();
    for (const event of batches.flat()) {
      if (event.type === 'delete') {
        live.delete(event.key);
        continue;
      }
      const { kv } = event;
      const created = kv.version === 1 && kv.createRevision === kv.modRevision;
      assert.equal(created, !live.has(kv.key), `${kv.key} at ${event.revision}`);
      assert.equal(event.previous === undefined, created, `previous of ${kv.key} at ${event.revision}`);
      live.add(kv.key);
    }
  }),

  watchCase('PrevKV: previous is exactly the kv as of the revision before', async ({ store }) => {
    const { batches } = await whole(store, '/');
    for (const event of batches.flat()) {
      const before = await store.range({ key: keyOf(event), revision: event.revision - 1 });
      assert.deepEqual(event.previous, before.kvs[0], `${keyOf(event)} at ${event.revision}`);
    }
  }),
];

const lifeCases: readonly ConformanceCase<StateStoreHarness>[] = [
  watchCase('without fromRevision it begins with the first change after the call', async ({ store }) => {
    await put(store, '/a', 'before');
    const stop = new AbortController();
    const watching = store.watch({ prefix: '/', signal: stop.signal })[Symbol.asyncIterator]();
    const first = watching.next();
    await settled(store);
    await put(store, '/a', 'after');
    assert.deepEqual(shown((await first).value ?? []), ['put /a=after']);
    stop.abort();
    assert.equal((await watching.next()).done, true);
  }),

  watchCase('from a revision still to come it waits for it', async ({ store }) => {
    await put(store, '/a', '1');
    const watched = take(store, { prefix: '/', fromRevision: 3 }, 1);
    await put(store, '/a', '2');
    await put(store, '/a', '3');
    assert.deepEqual(shown((await watched)[0] ?? []), ['put /a=3']);
  }),

  watchCase('events of a revision are in operation order', async ({ store }) => {
    await put(store, '/z', 'x');
    await store.txn({
      compare: [],
      success: [
        { op: 'put', key: '/m', value: '1' },
        { op: 'delete', key: '/z' },
        { op: 'put', key: '/a', value: '2' },
      ],
    });
    const [events] = await take(store, { prefix: '/', fromRevision: 2 }, 1);
    assert.deepEqual(shown(events ?? []), ['put /m=1', 'delete /z', 'put /a=2']);
  }),

  watchCase('changes that come while it is open arrive, whoever makes them', async ({ store }) => {
    const watched = take(store, { prefix: '/live/', fromRevision: 1 }, 20);
    for (let index = 0; index < 20; index += 1) {
      await put(store, `/live/${index}`, String(index));
      await put(store, `/dead/${index}`, String(index));
    }
    assert.deepEqual(
      (await watched).flat().map(keyOf),
      Array.from({ length: 20 }, (_, index) => `/live/${index}`),
    );
  }),

  watchCase('many watchers of different prefixes each see their own, whole', async ({ store }) => {
    const watchers = Array.from({ length: 10 }, (_, index) =>
      take(store, { prefix: `/w${index}/`, fromRevision: 1 }, 5),
    );
    for (let round = 0; round < 5; round += 1) {
      await store.txn({
        compare: [],
        success: Array.from({ length: 10 }, (_, index) => ({
          op: 'put' as const,
          key: `/w${index}/k`,
          value: String(round),
        })),
      });
    }
    for (const [index, got] of (await Promise.all(watchers)).entries()) {
      assert.deepEqual(
        got.flatMap(shown),
        [0, 1, 2, 3, 4].map((round) => `put /w${index}/k=${round}`),
      );
    }
  }),

  watchCase('a slow watcher misses nothing', async ({ store }) => {
    const stop = new AbortController();
    const iterator = store
      .watch({ prefix: '/', fromRevision: 1, signal: stop.signal })
      [Symbol.asyncIterator]();
    await put(store, '/a', '0');
    const got = [...shown((await iterator.next()).value ?? [])];
    for (let index = 1; index <= 300; index += 1) await put(store, '/a', String(index));
    while (got.length < 301) got.push(...shown((await iterator.next()).value ?? []));
    assert.deepEqual(
      got,
      Array.from({ length: 301 }, (_, index) => `put /a=${index}`),
    );
    stop.abort();
    assert.equal((await iterator.next()).done, true);
  }),

  watchCase('it ends quietly when its signal aborts, before or while waiting', async ({ store }) => {
    for await (const _ of store.watch({ prefix: '/', signal: AbortSignal.abort() })) assert.fail('an event');
    const stop = new AbortController();
    const waiting = store.watch({ prefix: '/', signal: stop.signal })[Symbol.asyncIterator]().next();
    await settled(store);
    stop.abort();
    assert.equal((await waiting).done, true);
  }),

  watchCase('the empty prefix watches the whole store', async ({ store }) => {
    await put(store, 'a', '1');
    await remove(store, 'a');
    const got = await take(store, { prefix: '', fromRevision: 1 }, 2);
    assert.deepEqual(got.flatMap(shown), ['put a=1', 'delete a']);
  }),

  watchCase('a malformed one is INVALID_ARGUMENT', async ({ store }) => {
    const start = async (fromRevision: number): Promise<void> => {
      for await (const _ of store.watch({ prefix: '/', fromRevision })) break;
    };
    await rejectsWith('INVALID_ARGUMENT', () => start(0));
    await rejectsWith('INVALID_ARGUMENT', () => start(1.5));
  }),
];

/** A few round trips: enough for a request sent before to have reached the store. */
async function settled(store: StateStore): Promise<void> {
  for (let round = 0; round < 5; round += 1) await revisionOf(store);
}

/** Cases of watches. */
export const watchCases: readonly ConformanceCase<StateStoreHarness>[] = [...validatorCases, ...lifeCases];
