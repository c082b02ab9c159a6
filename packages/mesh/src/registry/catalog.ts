// StateStoreCatalog: finds services by the Endpoint resources in the state store.

import { isDeepStrictEqual } from 'node:util';
import {
  type Clock,
  type EndpointResource,
  type EndpointSet,
  Informer,
  type Random,
  type ServiceCatalog,
  type StateStore,
} from '@heptad/core';
import { toServiceEndpoint } from '../snapshot/compile.ts';

/** Where a catalog reads. */
export interface StateStoreCatalogOptions {
  readonly store: StateStore;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
  /** Hears failures to reach the store; what is known stays in force. */
  readonly onError?: (error: unknown) => void;
}

/**
 * A catalog that follows the state store. While the store is out of reach it answers what was last known, so callers go
 * on calling.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { StateStoreCatalog } from '@heptad/mesh';
 *
 * await using store = new MemoryStateStore();
 * await using catalog = new StateStoreCatalog({ store });
 * console.log((await catalog.resolve('web')).endpoints.length); // 0
 * ```
 */
export class StateStoreCatalog implements ServiceCatalog, AsyncDisposable {
  readonly #informer: Informer<'Endpoint'>;
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(options: StateStoreCatalogOptions) {
    const { store, ...rest } = options;
    this.#informer = new Informer(store, 'Endpoint', rest);
    this.#informer.onChange((change) => {
      const resource = change.type === 'put' ? change.resource : change.previous;
      const wakes =
        resource === undefined ? [...this.#watchers.values()] : [this.#watchers.get(resource.spec.service)];
      for (const set of wakes) for (const wake of set ?? []) wake();
    });
  }

  async resolve(service: string): Promise<EndpointSet> {
    await this.#informer.ready;
    return this.#present(service);
  }

  async *watch(service: string, signal: AbortSignal): AsyncGenerator<EndpointSet, void, undefined> {
    let changed = true;
    let wake: (() => void) | undefined;
    const ring = (): void => {
      changed = true;
      wake?.();
    };
    const set = this.#watchers.get(service) ?? new Set();
    this.#watchers.set(service, set.add(ring));
    signal.addEventListener('abort', ring, { once: true });
    try {
      await Promise.race([this.#informer.ready, aborted(signal)]);
      let last: EndpointSet | undefined;
      while (!signal.aborted) {
        if (changed) {
          changed = false;
          const next = this.#present(service);
          if (last !== undefined && isDeepStrictEqual(last.endpoints, next.endpoints)) continue;
          last = next;
          yield next;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', ring);
      set.delete(ring);
      if (set.size === 0) this.#watchers.delete(service);
    }
  }

  /** Stops following the store. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#informer[Symbol.asyncDispose]();
  }

  #present(service: string): EndpointSet {
    const own = [...this.#informer.items.values()].filter((endpoint) => endpoint.spec.service === service);
    own.sort((a: EndpointResource, b: EndpointResource) => (a.name < b.name ? -1 : 1));
    return {
      service,
      version: this.#informer.revision,
      endpoints: own.map((endpoint) => toServiceEndpoint(endpoint)),
    };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
