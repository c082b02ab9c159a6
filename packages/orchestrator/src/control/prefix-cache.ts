// A local copy of all keys under a prefix that keeps itself up to date: list, watch, and list again after a failure.

import {
  Backoff,
  type Clock,
  isHeptadError,
  type Key,
  type KeyValue,
  type Random,
  type StateStore,
} from '@heptad/core';

/** Who hears of changes. */
export interface PrefixCacheOptions {
  readonly store: StateStore;
  readonly prefix: Key;
  readonly clock: Clock;
  readonly random: Random;
  readonly onPut: (kv: KeyValue) => void;
  readonly onDelete: (key: Key) => void;
  /** After each batch of changes; `relisted` when it came from a list, not from the watch. */
  readonly onBatch: (revision: number, relisted: boolean) => void;
  readonly onError: (error: unknown) => void;
}

const RELIST_WAIT = { firstMs: 100, longestMs: 5_000 };
/** Keys per read: a page stays well below what one answer may carry. */
const PAGE = 1_000;

/** See the file's first line. Unlike an informer it spans kinds, so that what it shows is one revision of the store. */
export class PrefixCache implements AsyncDisposable {
  readonly ready: Promise<void>;
  readonly #options: PrefixCacheOptions;
  readonly #known = new Map<Key, number>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #becomeReady: () => void = () => {};

  constructor(options: PrefixCacheOptions) {
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason), { once: true });
    });
    this.ready.catch(() => {});
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the cache was stopped'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, onError } = this.#options;
    const backoff = new Backoff(RELIST_WAIT, random);
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(() => backoff.reset());
      } catch (error) {
        if (signal.aborted) return;
        if (isHeptadError(error, 'COMPACTED')) continue;
        onError(error);
        if (isHeptadError(error, 'STORE_CLOSED')) return;
      }
      await clock.sleep(backoff.nextMs(), signal).catch(() => {});
    }
  }

  async #listAndWatch(listed: () => void): Promise<void> {
    const { store, prefix, onPut, onDelete, onBatch } = this.#options;
    const { kvs, revision } = await readPrefix(store, prefix);
    const present = new Set(kvs.map((kv) => kv.key));
    for (const key of [...this.#known.keys()]) {
      if (present.has(key)) continue;
      this.#known.delete(key);
      onDelete(key);
    }
    for (const kv of kvs) {
      if (this.#known.get(kv.key) === kv.modRevision) continue;
      this.#known.set(kv.key, kv.modRevision);
      onPut(kv);
    }
    onBatch(revision, true);
    listed();
    this.#becomeReady();
    const query = { prefix, fromRevision: revision + 1, signal: this.#stop.signal };
    for await (const events of store.watch(query)) {
      let last = 0;
      for (const event of events) {
        last = event.revision;
        if (event.type === 'put') {
          this.#known.set(event.kv.key, event.kv.modRevision);
          onPut(event.kv);
        } else {
          this.#known.delete(event.key);
          onDelete(event.key);
        }
      }
      onBatch(last, false);
    }
  }
}

/** All keys under a prefix as of one revision, read in pages. */
export async function readPrefix(
  store: StateStore,
  prefix: Key,
): Promise<{ kvs: KeyValue[]; revision: number }> {
  const first = await store.range({ key: prefix, prefix: true, limit: PAGE });
  const kvs = [...first.kvs];
  let more = first.more;
  while (more) {
    const last = kvs.at(-1);
    if (last === undefined) break;
    const page = await store.range({
      key: `${last.key}\u0000`,
      // The end of a prefix: its last character raised by one; prefixes here end with "/".
      end: `${prefix.slice(0, -1)}0`,
      limit: PAGE,
      revision: first.revision,
    });
    kvs.push(...page.kvs);
    more = page.more;
  }
  return { kvs, revision: first.revision };
}
