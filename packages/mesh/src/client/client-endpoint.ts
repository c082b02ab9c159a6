// ClientEndpoint: an endpoint as the in-process client uses it: a connection pool, its load, its circuit breaker.

import { HeptadError, type ServiceEndpoint } from '@heptad/core';
import { Pool } from 'undici';
import type { BalanceTarget } from '../balance/balancer.ts';
import { CircuitBreaker } from '../resilience/circuit-breaker.ts';
import type { ClientContext } from './context.ts';

/** Connections to one endpoint and port; further requests queue in the pool. */
const MAX_CONNECTIONS = 256;
/** Less than the 5 s after which Node's servers close idle connections. */
const KEEP_ALIVE_MS = 4_000;

/** One endpoint of one service, for as long as the catalog has it. */
export class ClientEndpoint implements BalanceTarget {
  readonly id: string;
  readonly breaker: CircuitBreaker;
  inFlight = 0;
  readonly #context: ClientContext;
  readonly #pools = new Map<number, Pool>();
  #spec: ServiceEndpoint;

  constructor(service: string, spec: ServiceEndpoint, context: ClientContext) {
    this.id = spec.id;
    this.#spec = spec;
    this.#context = context;
    this.breaker = new CircuitBreaker({
      clock: context.clock,
      random: context.random,
      name: `${service}/${spec.id}`,
      ...context.options.breaker,
    });
  }

  get spec(): ServiceEndpoint {
    return this.#spec;
  }

  get weight(): number {
    return this.#spec.weight;
  }

  get ready(): boolean {
    return this.#spec.state === 'ready' && this.#spec.weight > 0;
  }

  /** Takes over what the catalog says now. */
  update(spec: ServiceEndpoint): void {
    const wasReady = this.ready;
    this.#spec = spec;
    if (!wasReady && this.ready) this.breaker.reset();
  }

  /**
   * The port a URL means: without one the first; else the port of that name or number.
   *
   * Errors: `UNKNOWN_PORT` naming the ports there are.
   */
  portFor(urlPort: string, service: string): number {
    const { ports } = this.#spec;
    const first = Object.values(ports)[0];
    if (urlPort === '' && first !== undefined) return first;
    const number = Number(urlPort);
    const port = Object.hasOwn(ports, urlPort)
      ? ports[urlPort]
      : Object.values(ports).find((one) => one === number);
    if (port !== undefined) return port;
    const known = Object.entries(ports).map(([name, value]) => `${name} (${value})`);
    throw new HeptadError(
      'UNKNOWN_PORT',
      `cannot call service ${service} on port ${urlPort || 'default'}: its endpoint ${this.id} has ${known.join(', ') || 'no ports'}`,
      { hint: 'use one of these ports, or leave the port out of the URL for the first' },
    );
  }

  /** The pool of connections to one of its ports. */
  pool(port: number): Pool {
    let pool = this.#pools.get(port);
    if (pool === undefined) {
      const address = this.#spec.address.includes(':') ? `[${this.#spec.address}]` : this.#spec.address;
      pool = new Pool(`http://${address}:${port}`, {
        connections: MAX_CONNECTIONS,
        pipelining: 1,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectTimeout: this.#context.options.connectTimeoutMs,
        headersTimeout: this.#context.options.responseTimeoutMs,
        bodyTimeout: this.#context.options.bodyTimeoutMs,
      });
      this.#pools.set(port, pool);
    }
    return pool;
  }

  /** Lets requests in flight end, then closes its connections. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.close()));
  }

  /** Breaks off everything. */
  async destroy(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}
