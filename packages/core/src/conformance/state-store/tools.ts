// Short words for the cases of the StateStore suite.

import assert from 'node:assert/strict';
import type {
  Op,
  Revision,
  StateStore,
  TxnResult,
  WatchEvent,
  WatchQuery,
} from '../../contracts/state-store.ts';

/** Puts one key; answers the revision. */
export async function put(
  store: StateStore,
  key: string,
  value: string,
  leaseId?: string,
): Promise<Revision> {
  const op: Op = { op: 'put', key, value, ...(leaseId === undefined ? {} : { leaseId }) };
  return (await store.txn({ compare: [], success: [op] })).revision;
}

/** Deletes one key; answers the result. */
export function remove(store: StateStore, key: string): Promise<TxnResult> {
  return store.txn({ compare: [], success: [{ op: 'delete', key }] });
}

/** The key's value, `undefined` when there is none. */
export async function readValue(store: StateStore, key: string): Promise<string | undefined> {
  return (await store.range({ key })).kvs[0]?.value;
}

/** The store's revision. */
export async function revisionOf(store: StateStore): Promise<Revision> {
  return (await store.range({ key: '/none' })).revision;
}

/** All keys of the store. */
export async function keysOf(store: StateStore): Promise<string[]> {
  return (await store.range({ key: '', prefix: true })).kvs.map((kv) => kv.key);
}

/** Watches until `count` arrays of events came; then ends the watch. */
export async function take(
  store: StateStore,
  query: Omit<WatchQuery, 'signal'>,
  count: number,
): Promise<(readonly WatchEvent[])[]> {
  const stop = new AbortController();
  const got: (readonly WatchEvent[])[] = [];
  for await (const events of store.watch({ ...query, signal: stop.signal })) {
    got.push(events);
    if (got.length === count) stop.abort();
  }
  assert.equal(got.length, count, `the watch ended after ${got.length} of ${count}`);
  return got;
}

/** The key an event is about. */
export function keyOf(event: WatchEvent): string {
  return event.type === 'put' ? event.kv.key : event.key;
}

/** `put /a=1`, `delete /a`: events as short text. */
export function shown(events: readonly WatchEvent[]): string[] {
  return events.map((event) =>
    event.type === 'put' ? `put ${event.kv.key}=${event.kv.value}` : `delete ${event.key}`,
  );
}
