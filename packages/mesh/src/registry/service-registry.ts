// ServiceRegistry: services announce where they are, others find them.

import {
  type Clock,
  type EndpointSet,
  HeptadError,
  invalidArgument,
  type Random,
  Resources,
  type StateStore,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { toServiceEndpoint } from '../snapshot/compile.ts';
import { StateStoreCatalog } from './catalog.ts';
import { Registration, type RegistrationSpec } from './registration.ts';

/** What a {@link ServiceRegistry} is made of. */
export interface ServiceRegistryOptions {
  readonly store: StateStore;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
  /** Hears lost leases and failures to reach the store; both are repaired by trying again. */
  readonly onError?: (error: unknown) => void;
}

/** One process announces a handful of endpoints; thousands mean that somebody forgot to close them. */
const MAX_REGISTRATIONS = 1_000;
const MIN_TTL_MS = 1_000;
/** An Endpoint's name has at most 63 characters: service, dash, 12 hexadecimal digits. */
const MAX_SERVICE_PART = 50;

/**
 * A registry over the state store: each registration is an Endpoint resource on a lease that heartbeats keep alive. When
 * the process dies, the endpoint vanishes after `ttlMs`; when only the lease is lost, it is registered again.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { ServiceRegistry } from '@heptad/mesh';
 *
 * await using store = new MemoryStateStore();
 * await using registry = new ServiceRegistry({ store });
 * await registry.register({ service: 'web', address: '127.0.0.1', ports: { http: 8080 } });
 * console.log((await registry.discover('web')).endpoints[0]?.ports); // { http: 8080 }
 * ```
 */
export class ServiceRegistry implements AsyncDisposable {
  readonly #options: ServiceRegistryOptions;
  readonly #endpoints: Resources<'Endpoint'>;
  readonly #registrations = new Set<Registration>();
  #catalog: StateStoreCatalog | undefined;
  #closed = false;

  constructor(options: ServiceRegistryOptions) {
    this.#options = options;
    this.#endpoints = new Resources(options.store, 'Endpoint', options);
  }

  /** The same registry as the contract that data planes take. */
  get catalog(): StateStoreCatalog {
    if (this.#closed) throw closed('discover services');
    this.#catalog ??= new StateStoreCatalog(this.#options);
    return this.#catalog;
  }

  /**
   * Announces an endpoint; resolves when others can see it.
   *
   * Errors: `INVALID_ARGUMENT`, `INVALID_RESOURCE` (a bad name or port), `TOO_MANY_REGISTRATIONS`, `REGISTRY_CLOSED`, the
   * store's own.
   */
  async register(spec: RegistrationSpec): Promise<Registration> {
    if (this.#closed) throw closed(`register ${spec.service}`);
    if (Object.keys(spec.ports).length === 0) {
      throw invalidArgument(
        `cannot register ${spec.service}: it needs at least one port, such as { http: 8080 }`,
      );
    }
    if (spec.ttlMs !== undefined && !(spec.ttlMs >= MIN_TTL_MS)) {
      throw invalidArgument(
        `cannot register ${spec.service}: ttlMs must be at least ${MIN_TTL_MS}, got ${spec.ttlMs}`,
      );
    }
    if (this.#registrations.size >= MAX_REGISTRATIONS) {
      throw new HeptadError(
        'TOO_MANY_REGISTRATIONS',
        `cannot register ${spec.service}: ${MAX_REGISTRATIONS} are open`,
        {
          hint: 'close registrations that are no longer needed',
        },
      );
    }
    const random = this.#options.random ?? systemRandom;
    const suffix = Buffer.from(random.bytes(6)).toString('hex');
    const id = `${spec.service.slice(0, MAX_SERVICE_PART)}-${suffix}`;
    const registration = new Registration(id, spec, {
      store: this.#options.store,
      endpoints: this.#endpoints,
      clock: this.#options.clock ?? systemClock,
      random,
      onError: this.#options.onError,
      onClosed: (gone) => void this.#registrations.delete(gone),
    });
    this.#registrations.add(registration);
    try {
      await registration.start();
    } catch (error) {
      this.#registrations.delete(registration);
      throw error;
    }
    return registration;
  }

  /** The endpoints of a service now; an empty set for a service nobody knows. Reads the store itself: never stale. */
  async discover(service: string): Promise<EndpointSet> {
    if (this.#closed) throw closed(`discover ${service}`);
    return discoverNow(this.#endpoints, service);
  }

  /** The present set first, then each change, until the signal aborts. */
  watch(service: string, signal: AbortSignal): AsyncIterable<EndpointSet> {
    return this.catalog.watch(service, signal);
  }

  /** Leaves the registry with everything registered here. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#registrations].map((registration) => registration.close()));
    await this.#catalog?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function discoverNow(endpoints: Resources<'Endpoint'>, service: string): Promise<EndpointSet> {
  const { items, revision } = await endpoints.list();
  const own = items.filter((endpoint) => endpoint.spec.service === service);
  return { service, version: revision, endpoints: own.map((endpoint) => toServiceEndpoint(endpoint)) };
}

function closed(doing: string): HeptadError {
  return new HeptadError('REGISTRY_CLOSED', `cannot ${doing}: the registry is closed`);
}
