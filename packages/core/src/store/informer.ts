// Informer: a local copy of all resources of a kind that keeps itself up to date.

import { isDeepStrictEqual } from 'node:util';
import type { Revision, StateStore } from '../contracts/state-store.ts';
import { isHeptadError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { systemClock } from '../ports/node/clock.ts';
import { systemRandom } from '../ports/node/random.ts';
import type { ResourceKind, ResourceOf } from '../resources/index.ts';
import { Backoff } from './backoff.ts';
import type { ResourceChange, ResourcesOptions } from './resource-types.ts';
import { Resources } from './resources.ts';

/** After a failure, first and longest wait before the next list. */
const RELIST_WAIT = { firstMs: 100, longestMs: 5_000 };

/** Options of an {@link Informer}. */
export interface InformerOptions extends ResourcesOptions {
  /** Hears every failure to list or watch (it goes on trying by itself) and every error a change callback throws. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Lists a kind, watches it from there, and lists again when its place in history was compacted away or the store was
 * out of reach. While the store is down `items` stays what was last known: that is what lets data planes go on.
 *
 * Callbacks see each change once and in order; after a new list they see the differences to what they knew.
 *
 * @example
 * ```ts
 * import { Informer, MemoryStateStore, Resources } from '@heptad/core';
 *
 * await using store = new MemoryStateStore();
 * await new Resources(store, 'Center').apply({ name: 'north', spec: { address: '10.0.0.1:7070' } });
 * await using informer = new Informer(store, 'Center');
 * await informer.ready;
 * console.log([...informer.items.keys()]); // [ 'north' ]
 * ```
 */
export class Informer<K extends ResourceKind> implements AsyncDisposable {
  /** Resolves after the first list. Rejects when the informer is disposed of before. */
  readonly ready: Promise<void>;
  readonly #resources: Resources<K>;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #onError: (error: unknown) => void;
  readonly #items = new Map<string, ResourceOf<K>>();
  readonly #callbacks = new Set<(change: ResourceChange<K>) => void>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #revision: Revision = 0;
  #lastError: unknown;
  #becomeReady: () => void = () => {};

  constructor(store: StateStore, kind: K, options: InformerOptions = {}) {
    this.#resources = new Resources(store, kind, options);
    this.#clock = options.clock ?? systemClock;
    this.#backoff = new Backoff(RELIST_WAIT, options.random ?? systemRandom);
    this.#onError = options.onError ?? (() => {});
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason), { once: true });
    });
    // Whoever does not wait for `ready` must not be killed by its rejection.
    this.ready.catch(() => {});
    this.#running = this.#run();
  }

  /** What is known now, by name. A live view: it changes beneath you. */
  get items(): ReadonlyMap<string, ResourceOf<K>> {
    return this.#items;
  }

  /** The store's revision `items` is at; 0 before the first list. */
  get revision(): Revision {
    return this.#revision;
  }

  /** Why `items` is not up to date now: the last failure to list or watch; `undefined` while it follows the store. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Calls back at each change from now on, after `items` has it. Dispose of the result to stop. */
  onChange(callback: (change: ResourceChange<K>) => void): Disposable {
    this.#callbacks.add(callback);
    return { [Symbol.dispose]: () => void this.#callbacks.delete(callback) };
  }

  /** Stops watching. `items` stays as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the informer was stopped'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#lastError = error;
        this.#onError(error);
        if (isHeptadError(error, 'STORE_CLOSED')) return;
        // Compaction is no failure of the store: list again at once.
        if (isHeptadError(error, 'COMPACTED')) continue;
        await this.#clock.sleep(this.#backoff.nextMs(), signal).catch(() => {});
      }
    }
  }

  async #listAndWatch(signal: AbortSignal): Promise<void> {
    const { items, revision } = await this.#resources.list();
    this.#replace(items, revision);
    this.#backoff.reset();
    this.#lastError = undefined;
    this.#becomeReady();
    for await (const changes of this.#resources.watch({ fromRevision: revision + 1, signal })) {
      for (const change of changes) this.#take(change);
    }
  }

  #replace(listed: readonly ResourceOf<K>[], revision: Revision): void {
    const names = new Set(listed.map((item) => item.name));
    for (const [name, previous] of [...this.#items]) {
      if (names.has(name)) continue;
      this.#take({ type: 'delete', name, namespace: this.#resources.namespace, previous, revision });
    }
    for (const resource of listed) {
      if (isDeepStrictEqual(this.#items.get(resource.name), resource)) continue;
      this.#take({ type: 'put', resource, revision });
    }
    this.#revision = revision;
  }

  #take(change: ResourceChange<K>): void {
    if (change.type === 'put') this.#items.set(change.resource.name, change.resource);
    else this.#items.delete(change.name);
    this.#revision = Math.max(this.#revision, change.revision);
    for (const callback of [...this.#callbacks]) {
      try {
        callback(change);
      } catch (error) {
        // One listener's mistake must not blind the others.
        this.#onError(error);
      }
    }
  }
}
