// ServiceMesh: registry, client, policies and rules behind one object, for programs that use the mesh as a library.

import {
  type Clock,
  type EndpointSet,
  type MeshSnapshot,
  type NetworkPolicyResource,
  type Random,
  Resources,
  type SpecInput,
  type StateStore,
  type TrafficRuleResource,
} from '@heptad/core';
import type { RequestInfo, RequestInit, Response } from 'undici';
import type { MeshClientOptions } from './client/context.ts';
import { MeshClient } from './client/mesh-client.ts';
import { evaluatePolicy, type PolicyDecision, type PolicyParty } from './policy/network-policy.ts';
import type { Registration, RegistrationSpec } from './registry/registration.ts';
import { ServiceRegistry } from './registry/service-registry.ts';
import { watchMeshSnapshot } from './snapshot/watch.ts';

/** What a {@link ServiceMesh} is made of. */
export interface ServiceMeshOptions {
  readonly store: StateStore;
  /** The service this program is: policies and rules by source look at it. */
  readonly service?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default `default`. */
  readonly namespace?: string;
  readonly client?: Omit<MeshClientOptions, 'catalog' | 'clock' | 'random' | 'service' | 'rules' | 'ready'>;
  /** Hears failures to reach the store; what is known stays in force. */
  readonly onError?: (error: unknown) => void;
}

/**
 * The whole mesh in process: announces services, calls them, and decides with the same policies and rules as the node
 * proxy. Calls wait until the policies in force are known.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { Microservice, ServiceMesh } from '@heptad/mesh';
 *
 * const mesh = new ServiceMesh({ store: new MemoryStateStore(), service: 'web' });
 * const prices = new Microservice({
 *   name: 'prices',
 *   host: '127.0.0.1',
 *   registry: mesh.registry,
 *   routes: { 'GET /tea': () => ({ body: { cents: 250 } }) },
 * });
 * await prices.start();
 * console.log(await (await mesh.fetch('http://prices/tea')).json()); // { cents: 250 }
 * await prices.close();
 * await mesh.close();
 * ```
 */
export class ServiceMesh implements AsyncDisposable {
  readonly registry: ServiceRegistry;
  readonly client: MeshClient;
  /** Resolves when policies and rules are known for the first time. */
  readonly ready: Promise<void>;
  readonly #policies: Resources<'NetworkPolicy'>;
  readonly #rules: Resources<'TrafficRule'>;
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  #snapshot: MeshSnapshot | undefined;
  #becomeReady: () => void = () => {};

  constructor(options: ServiceMeshOptions) {
    const { store, service, client, ...common } = options;
    this.#policies = new Resources(store, 'NetworkPolicy', common);
    this.#rules = new Resources(store, 'TrafficRule', common);
    this.registry = new ServiceRegistry({ store, ...common });
    this.ready = new Promise((resolve) => {
      this.#becomeReady = resolve;
    });
    this.client = new MeshClient({
      ...client,
      ready: this.ready,
      catalog: this.registry.catalog,
      rules: () => this.#snapshot,
      ...(common.clock === undefined ? {} : { clock: common.clock }),
      ...(common.random === undefined ? {} : { random: common.random }),
      ...(service === undefined ? {} : { service }),
    });
    this.#watching = this.#watch(store, common);
  }

  /** What is in force; `undefined` before {@link ready}. */
  get snapshot(): MeshSnapshot | undefined {
    return this.#snapshot;
  }

  /** Announces an endpoint. See {@link ServiceRegistry.register}. */
  register(spec: RegistrationSpec): Promise<Registration> {
    return this.registry.register(spec);
  }

  /** The endpoints of a service now. */
  discover(service: string): Promise<EndpointSet> {
    return this.registry.discover(service);
  }

  /** As `fetch`, for `http://service/path`. See {@link MeshClient}. */
  readonly fetch = (input: RequestInfo, init?: RequestInit): Promise<Response> =>
    this.client.fetch(input, init);

  /** Creates or replaces a network policy. In force here once the store has told us. */
  applyPolicy(name: string, spec: SpecInput<'NetworkPolicy'>): Promise<NetworkPolicyResource> {
    return this.#policies.apply({ name, spec });
  }

  /** Creates or replaces a traffic rule. */
  applyRule(name: string, spec: SpecInput<'TrafficRule'>): Promise<TrafficRuleResource> {
    return this.#rules.apply({ name, spec });
  }

  /** Deletes a network policy. Errors: `NOT_FOUND`. */
  async removePolicy(name: string): Promise<void> {
    await this.#policies.remove(name);
  }

  /** Deletes a traffic rule. Errors: `NOT_FOUND`. */
  async removeRule(name: string): Promise<void> {
    await this.#rules.remove(name);
  }

  /** Whether `source` may call `destination` under the policies in force; denied before they are known. */
  evaluate(source: PolicyParty, destination: PolicyParty, port: number): PolicyDecision {
    if (this.#snapshot === undefined)
      return { allowed: false, because: 'the policies in force are not known yet' };
    return evaluatePolicy(this.#snapshot, source, destination, port);
  }

  /** Lets calls in flight end and leaves the registry. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    await this.client.close();
    await this.registry.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #watch(
    store: StateStore,
    options: Omit<ServiceMeshOptions, 'store' | 'service' | 'client'>,
  ): Promise<void> {
    for await (const snapshot of watchMeshSnapshot(store, { ...options, signal: this.#stop.signal })) {
      this.#snapshot = snapshot;
      this.#becomeReady();
    }
    // Closed before anything was known: nobody may wait for ever.
    this.#becomeReady();
  }
}
