// ServiceCluster: a service's endpoints as the proxy uses them, kept across snapshots.

import type { EndpointSet, MeshService } from '@heptad/core';
import type { Balancer } from '../balance/balancer.ts';
import { createBalancer, isBalancerName } from '../balance/create.ts';
import { RetryBudget } from '../resilience/retry-budget.ts';
import type { ProxyContext } from './context.ts';
import { UpstreamEndpoint } from './upstream-endpoint.ts';

/** Label of a service that names its balancer. */
export const BALANCER_LABEL = 'heptad/balancer';
/** Requests of one service that may wait for an endpoint; more are refused at once, which protects memory. */
const MAX_WAITING = 1_000;

/** The endpoint for an attempt, or why there is none. */
export type Choice =
  | { readonly endpoint: UpstreamEndpoint; readonly permit: number }
  | { readonly endpoint: undefined; readonly reason: 'none' | 'circuit-open'; readonly retryAfterMs: number };

/** All endpoints of one service with balancer, retry budget and waiting requests. */
export class ServiceCluster {
  readonly service: string;
  readonly budget: RetryBudget;
  requests = 0;
  errors = 0;
  readonly #context: ProxyContext;
  readonly #endpoints = new Map<string, UpstreamEndpoint>();
  #ready: UpstreamEndpoint[] = [];
  #balancer: Balancer;
  readonly #waiting = new Set<() => void>();

  constructor(service: MeshService, context: ProxyContext) {
    this.service = service.name;
    this.#context = context;
    this.budget = new RetryBudget({ clock: context.clock, ...context.options.retryBudget });
    this.#balancer = this.#balancerOf(service);
  }

  get endpoints(): readonly UpstreamEndpoint[] {
    return [...this.#endpoints.values()];
  }

  /** Takes over a new snapshot's view. Endpoints that stay keep their connections, load and breaker. */
  update(service: MeshService, set: EndpointSet | undefined): void {
    const balancer = this.#balancerOf(service);
    if (balancer.name !== this.#balancer.name) this.#balancer = balancer;
    const wanted = new Map(set?.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    for (const [id, endpoint] of this.#endpoints) {
      const spec = wanted.get(id);
      // The same id at another address is another process: nothing learned of the old one holds.
      if (spec !== undefined && spec.address === endpoint.address) continue;
      this.#endpoints.delete(id);
      endpoint.closeIdle();
      endpoint.update({ ...endpoint.spec, state: 'unready' });
    }
    for (const [id, spec] of wanted) {
      const known = this.#endpoints.get(id);
      if (known === undefined)
        this.#endpoints.set(id, new UpstreamEndpoint(this.service, spec, this.#context));
      else known.update(spec);
    }
    this.#ready = this.endpoints.filter((endpoint) => endpoint.ready);
    if (this.#ready.length > 0) this.#wake();
  }

  /** Chooses an endpoint of `version` (or any), avoiding `tried` ones while there are others. */
  choose(version: string | undefined, tried: readonly UpstreamEndpoint[]): Choice {
    let candidates = this.#ready;
    if (version !== undefined)
      candidates = candidates.filter((endpoint) => endpoint.spec.version === version);
    if (candidates.length === 0) return { endpoint: undefined, reason: 'none', retryAfterMs: 0 };
    const untried =
      tried.length === 0 ? candidates : candidates.filter((endpoint) => !tried.includes(endpoint));
    const usable = (untried.length === 0 ? candidates : untried).filter(
      (endpoint) => endpoint.breaker.available,
    );
    const endpoint = this.#balancer.pick(usable);
    const permit = endpoint?.breaker.acquire() ?? 0;
    if (endpoint === undefined || permit === 0) {
      const waits = candidates.map((candidate) => candidate.breaker.retryAfterMs);
      return { endpoint: undefined, reason: 'circuit-open', retryAfterMs: Math.min(...waits) };
    }
    return { endpoint, permit };
  }

  /** Tells the balancer how an attempt went. */
  observe(endpoint: UpstreamEndpoint, durationMs: number, failed: boolean): void {
    this.#balancer.observe?.(endpoint, durationMs, failed);
  }

  /** Calls `wake` at the next change that brings an endpoint; `false` when too many wait. */
  wait(wake: () => void): boolean {
    if (this.#waiting.size >= MAX_WAITING) return false;
    this.#waiting.add(wake);
    return true;
  }

  /** Takes a waiting request away. */
  stopWaiting(wake: () => void): void {
    this.#waiting.delete(wake);
  }

  /** Closes idle connections past their time. */
  sweep(now: number): void {
    for (const endpoint of this.#endpoints.values()) endpoint.sweep(now);
  }

  /** The service is gone: closes what is idle and lets waiting requests find out. */
  close(): void {
    this.#ready = [];
    for (const endpoint of this.#endpoints.values()) endpoint.update({ ...endpoint.spec, state: 'unready' });
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #balancerOf(service: MeshService): Balancer {
    const label = service.labels[BALANCER_LABEL];
    const name = label !== undefined && isBalancerName(label) ? label : this.#context.options.balancer;
    return createBalancer(name, this.#context);
  }
}
