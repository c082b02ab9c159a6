// UpstreamEndpoint: an endpoint as the proxy uses it: its connections, its load, its circuit breaker.

import type { ServiceEndpoint } from '@heptad/core';
import type { BalanceTarget } from '../balance/balancer.ts';
import { CircuitBreaker } from '../resilience/circuit-breaker.ts';
import type { ProxyContext } from './context.ts';
import { UpstreamConnection, type UpstreamUser } from './upstream-connection.ts';

/** Idle connections kept to one endpoint and port; the busiest proxies need some hundreds. */
const MAX_IDLE_CONNECTIONS = 256;
/** Connections to one endpoint in all (Envoy's default of max_connections). */
export const MAX_ENDPOINT_CONNECTIONS = 1_024;
/**
 * Node's servers close idle connections after 5 s; one that is used in that very moment is a failed request. So ours
 * must give up first.
 */
const IDLE_MS = 4_000;
/** How much sooner than announced (`Keep-Alive: timeout=`) an idle connection is given up. */
const IDLE_MARGIN_MS = 1_000;

/** One endpoint of one service, for as long as it is in the snapshot. */
export class UpstreamEndpoint implements BalanceTarget {
  readonly id: string;
  readonly service: string;
  inFlight = 0;
  readonly breaker: CircuitBreaker;
  readonly #context: ProxyContext;
  #spec: ServiceEndpoint;
  readonly #idle = new Map<number, UpstreamConnection[]>();

  constructor(service: string, spec: ServiceEndpoint, context: ProxyContext) {
    this.service = service;
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

  get address(): string {
    return this.#spec.address;
  }

  get weight(): number {
    return this.#spec.weight;
  }

  get ready(): boolean {
    return this.#spec.state === 'ready' && this.#spec.weight > 0;
  }

  /** Takes over what a new snapshot says. One that comes back to ready starts with a clean record. */
  update(spec: ServiceEndpoint): void {
    const wasReady = this.ready;
    this.#spec = spec;
    if (!wasReady && this.ready) this.breaker.reset();
    if (!this.ready) this.closeIdle();
  }

  /** The container port behind a service port: by name, else the same number. */
  portFor(name: string, port: number): number {
    return this.#spec.ports[name] ?? port;
  }

  /** An idle connection (unless `fresh`) or a new one that is connecting; `undefined` when there are too many. */
  open(port: number, user: UpstreamUser, fresh: boolean): UpstreamConnection | undefined {
    const now = this.#context.clock.monotonicMs();
    const idle = this.#idle.get(port);
    while (!fresh && idle !== undefined && idle.length > 0) {
      const connection = idle.pop();
      if (connection === undefined || connection.closed) continue;
      if (connection.idleUntil <= now) {
        connection.destroy();
        continue;
      }
      connection.lend(user);
      return connection;
    }
    if (this.inFlight > MAX_ENDPOINT_CONNECTIONS) return undefined;
    return new UpstreamConnection(this.address, port, user, (closed) => this.#forget(port, closed));
  }

  /** Takes a connection back after a complete exchange. */
  release(port: number, connection: UpstreamConnection, keepAliveTimeoutMs: number | undefined): void {
    const idleMs = Math.min(IDLE_MS, (keepAliveTimeoutMs ?? IDLE_MS + IDLE_MARGIN_MS) - IDLE_MARGIN_MS);
    let idle = this.#idle.get(port);
    if (idle === undefined) {
      idle = [];
      this.#idle.set(port, idle);
    }
    if (!this.ready || idleMs <= 0 || idle.length >= MAX_IDLE_CONNECTIONS || connection.closed) {
      connection.destroy();
      return;
    }
    connection.detach();
    connection.idleUntil = this.#context.clock.monotonicMs() + idleMs;
    idle.push(connection);
  }

  /** Closes connections idle past their time. */
  sweep(now: number): void {
    for (const [port, idle] of this.#idle) {
      const keep = idle.filter((connection) => connection.idleUntil > now && !connection.closed);
      if (keep.length === idle.length) continue;
      this.#idle.set(port, keep);
      for (const connection of idle) if (!keep.includes(connection)) connection.destroy();
    }
  }

  /** Closes all idle connections; those in use end with their exchange. */
  closeIdle(): void {
    const all = [...this.#idle.values()].flat();
    this.#idle.clear();
    for (const connection of all) connection.destroy();
  }

  #forget(port: number, connection: UpstreamConnection): void {
    const idle = this.#idle.get(port);
    const index = idle?.indexOf(connection) ?? -1;
    if (index >= 0) idle?.splice(index, 1);
  }
}
