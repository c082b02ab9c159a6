// Reading a whole store in key order, in pages, and the digest over all that is replicated.

import { createHash, type Hash } from 'node:crypto';
import type { KeyValue, StateStore } from '@heptad/core';
import { isReplicated } from './entry.ts';

/** Keys read at a time. */
const PAGE_KEYS = 200;
/** Above every key: the last code point. */
const END = '\u{10ffff}';

/** Replicated keys after `after` (exclusive) up to `upTo` (inclusive; undefined: all), in order, page by page. */
export async function* pages(
  store: StateStore,
  options: { readonly after?: string; readonly upTo?: string | undefined; readonly revision?: number } = {},
): AsyncGenerator<readonly KeyValue[]> {
  let key = options.after === undefined || options.after === '' ? '\u0000' : `${options.after}\u0000`;
  const end = options.upTo === undefined ? END : `${options.upTo}\u0000`;
  for (;;) {
    const { kvs, more } = await store.range({
      key,
      end,
      limit: PAGE_KEYS,
      ...(options.revision === undefined ? {} : { revision: options.revision }),
    });
    yield kvs.filter((kv) => isReplicated(kv.key));
    const last = kvs.at(-1);
    if (!more || last === undefined) return;
    key = `${last.key}\u0000`;
  }
}

/** A digest of keys and values; lengths keep neighbouring fields apart. */
export class StoreDigest {
  readonly #hash: Hash = createHash('sha256');

  add(key: string, value: string): void {
    this.#hash.update(`${Buffer.byteLength(key)}:${Buffer.byteLength(value)}:${key}${value}`);
  }

  finish(): string {
    return this.#hash.digest('hex');
  }
}

/** Digest of all that is replicated in a store, as of `revision` (default: now). */
export async function digestOf(store: StateStore, revision?: number): Promise<string> {
  const digest = new StoreDigest();
  for await (const page of pages(store, revision === undefined ? {} : { revision })) {
    for (const { key, value } of page) digest.add(key, value);
  }
  return digest.finish();
}
