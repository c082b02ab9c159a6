// ClientCluster: one service as the in-process client follows it, from its first call on.

import { type EndpointSet, errorMessage, HeptadError } from '@heptad/core';
import type { Balancer } from '../balance/balancer.ts';
import { createBalancer } from '../balance/create.ts';
import { RetryBudget } from '../resilience/retry-budget.ts';
import { ClientEndpoint } from './client-endpoint.ts';
import type { ClientContext } from './context.ts';

/** Requests of one service that may wait for an endpoint. */
const MAX_WAITING = 1_000;
/** After the catalog's watch failed. */
const WATCH_RETRY_MS = 1_000;

/** Leave for one attempt at one endpoint. */
export interface ClientChoice {
  readonly endpoint: ClientEndpoint;
  readonly permit: number;
}

/** Follows a service in the catalog: only services that are called cost anything. */
export class ClientCluster {
  readonly service: string;
  readonly budget: RetryBudget;
  readonly #context: ClientContext;
  readonly #balancer: Balancer;
  readonly #endpoints = new Map<string, ClientEndpoint>();
  readonly #waiting = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;
  #known = false;

  constructor(service: string, context: ClientContext) {
    this.service = service;
    this.#context = context;
    this.budget = new RetryBudget({ clock: context.clock, ...context.options.retryBudget });
    this.#balancer = createBalancer(context.options.balancer, context);
    this.#following = this.#follow();
  }

  /**
   * An endpoint for an attempt, waiting a little when there is none.
   *
   * Errors: `NO_ENDPOINT`, `CIRCUIT_OPEN`, `OVERLOADED` (all retryable), `CLIENT_CLOSED`.
   */
  async choose(
    version: string | undefined,
    tried: readonly ClientEndpoint[],
    untilMs: number,
  ): Promise<ClientChoice> {
    for (;;) {
      if (this.#stop.signal.aborted) {
        throw new HeptadError('CLIENT_CLOSED', `cannot call service ${this.service}: the client was closed`);
      }
      const choice = this.#chooseNow(version, tried);
      if (choice !== undefined) return choice;
      const left = untilMs - this.#context.clock.monotonicMs();
      if (left <= 0) throw this.#noEndpoint(version);
      await this.#wait(left);
    }
  }

  /** The same without waiting; `undefined` when there is no endpoint. Throws `CIRCUIT_OPEN`. */
  #chooseNow(version: string | undefined, tried: readonly ClientEndpoint[]): ClientChoice | undefined {
    const ready = [...this.#endpoints.values()].filter(
      (endpoint) => endpoint.ready && (version === undefined || endpoint.spec.version === version),
    );
    if (ready.length === 0) return undefined;
    const untried = ready.filter((endpoint) => !tried.includes(endpoint));
    const usable = (untried.length === 0 ? ready : untried).filter((endpoint) => endpoint.breaker.available);
    const endpoint = this.#balancer.pick(usable);
    const permit = endpoint?.breaker.acquire() ?? 0;
    if (endpoint !== undefined && permit !== 0) return { endpoint, permit };
    const retryAfterMs = Math.min(...ready.map((one) => one.breaker.retryAfterMs));
    throw new HeptadError(
      'CIRCUIT_OPEN',
      `every endpoint of service ${this.service} keeps failing, so none is called now`,
      {
        hint: `they are probed again in ${Math.ceil(retryAfterMs)} ms`,
        retryable: true,
        details: { service: this.service, retryAfterMs },
      },
    );
  }

  /** Tells the balancer how an attempt went. */
  observe(endpoint: ClientEndpoint, durationMs: number, failed: boolean): void {
    this.#balancer.observe?.(endpoint, durationMs, failed);
  }

  /** Stops following; requests in flight end (or break off, when `force`). */
  async close(force: boolean): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#following;
    await Promise.all([...this.#endpoints.values()].map((one) => (force ? one.destroy() : one.close())));
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const set of this.#context.catalog.watch(this.service, signal)) this.#update(set);
        if (signal.aborted) return;
      } catch {
        // The catalog is out of reach: what is known stays in force, and asking again is all there is to do.
      }
      await this.#context.clock.sleep(WATCH_RETRY_MS, signal).catch(() => {});
    }
  }

  #update(set: EndpointSet): void {
    this.#known = true;
    const wanted = new Map(set.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    for (const [id, endpoint] of this.#endpoints) {
      const spec = wanted.get(id);
      if (spec !== undefined && spec.address === endpoint.spec.address) continue;
      this.#endpoints.delete(id);
      // Closing waits for requests in flight, which nobody here needs to wait for.
      endpoint.close().catch(() => {});
    }
    for (const [id, spec] of wanted) {
      const known = this.#endpoints.get(id);
      if (known === undefined) this.#endpoints.set(id, new ClientEndpoint(this.service, spec, this.#context));
      else known.update(spec);
    }
    this.#wake();
  }

  async #wait(ms: number): Promise<void> {
    if (this.#waiting.size >= MAX_WAITING) {
      throw new HeptadError(
        'OVERLOADED',
        `too many requests wait for an endpoint of service ${this.service}`,
        {
          retryable: true,
        },
      );
    }
    await new Promise<void>((resolve) => {
      const timer = this.#context.clock.timer(ms, () => wake());
      const wake = (): void => {
        timer.cancel();
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #noEndpoint(version: string | undefined): HeptadError {
    const which = version === undefined ? '' : ` of version ${version}, which a traffic rule asks for`;
    const why = this.#known
      ? `has no ready endpoint${which}`
      : 'could not be looked up in the catalog in time';
    return new HeptadError('NO_ENDPOINT', `cannot call service ${this.service}: it ${why}`, {
      hint: 'check that it runs and is ready, and that its name is right',
      retryable: true,
      details: { service: this.service, endpoints: [...this.#endpoints.keys()].map(errorMessage) },
    });
  }
}
