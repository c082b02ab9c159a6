// NodeProxy: a node's data plane: virtual addresses for containers, published ports for the host.

import type { Socket } from 'node:net';
import {
  type Clock,
  errorMessage,
  HeptadError,
  type MeshSnapshot,
  type Random,
  systemClock,
  systemRandom,
  type Timer,
} from '@heptad/core';
import { RequestMetrics } from '../telemetry/metrics.ts';
import type { AccessLogEntry } from './access-log.ts';
import { type AddressManager, noAddresses } from './addresses.ts';
import { type ProxyContext, resolveUpstreamOptions, type UpstreamOptions } from './context.ts';
import { DownstreamConnection } from './downstream-connection.ts';
import { type ListenerStatus, Listeners, type ServicePortBinding } from './listeners.ts';
import { ProxyState } from './state.ts';
import { TcpConnection } from './tcp-connection.ts';

/** What a {@link NodeProxy} is made of. */
export interface NodeProxyOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Makes virtual addresses local. Default {@link noAddresses}: they are local already. */
  readonly addresses?: AddressManager;
  readonly upstream?: UpstreamOptions;
  /** Client connections at once; more are closed at once. Default 10,000. */
  readonly maxConnections?: number;
  /** Called for each request or connection that has ended. Must be quick and must not throw. */
  readonly onAccess?: (entry: AccessLogEntry) => void;
}

/** What the proxy is doing. */
export interface NodeProxyStatus {
  /** Revision of the snapshot in force; 0 before the first. */
  readonly revision: number;
  readonly connections: number;
  readonly listeners: readonly ListenerStatus[];
  readonly services: readonly {
    readonly name: string;
    readonly requests: number;
    readonly errors: number;
    readonly endpoints: readonly {
      readonly id: string;
      readonly address: string;
      readonly state: string;
      readonly circuit: string;
      readonly inFlight: number;
    }[];
  }[];
  /** Problems that a person should know of, as sentences. */
  readonly problems: readonly string[];
}

type LiveConnection = DownstreamConnection | TcpConnection;

/** Time limits are checked this often; they are exact to this much. */
const TICK_MS = 250;
/** A device may appear later (the container network makes its bridge with the first container). */
const ADDRESS_RETRY_MS = 2_000;

/**
 * The mesh's data plane on a node. `apply(snapshot)` swaps everything it knows at once; requests in flight end as they
 * began. In mode `http` each request is balanced on its own, with retries, breakers, policies and rules; in mode `tcp`
 * each connection. It keeps serving with the last snapshot for as long as nobody brings a newer one.
 *
 * UDP ports are not forwarded: `status()` shows them as `not-supported`.
 *
 * @example
 * ```ts
 * import { NodeProxy } from '@heptad/mesh';
 *
 * await using proxy = new NodeProxy({ onAccess: (entry) => console.log(entry.method, entry.path, entry.status) });
 * await proxy.apply({ revision: 1, services: [], endpoints: [], policies: [], rules: [], workloads: {} });
 * console.log(proxy.status().listeners.length); // 0
 * ```
 */
export class NodeProxy implements AsyncDisposable {
  readonly #context: ProxyContext;
  readonly #addresses: AddressManager;
  readonly #listeners: Listeners;
  readonly #live = new Set<LiveConnection>();
  readonly #maxConnections: number;
  readonly #ticker: Timer;
  #addressProblem: string | undefined;
  #addressRetry: Timer | undefined;
  #applying: Promise<void> = Promise.resolve();
  #closed = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: NodeProxyOptions = {}) {
    const clock = options.clock ?? systemClock;
    this.#context = {
      clock,
      random: options.random ?? systemRandom,
      options: resolveUpstreamOptions(options.upstream),
      metrics: new RequestMetrics('http.server'),
      state: new ProxyState(),
      onAccess: options.onAccess,
      draining: false,
    };
    this.#addresses = options.addresses ?? noAddresses;
    this.#maxConnections = options.maxConnections ?? 10_000;
    this.#listeners = new Listeners(clock, (socket, binding) => this.#accept(socket, binding));
    this.#ticker = clock.interval(TICK_MS, () => this.#tick(), { unref: true });
  }

  /**
   * Takes a snapshot whole. Routing, endpoints, rules and policies change at once; live upgraded and TCP connections that
   * are no longer allowed are closed. Resolves when new listeners listen or have failed once (then `status()` says why and
   * they are tried again every second). A virtual address that cannot be added is a problem in `status()`, not an error:
   * everything else is served.
   *
   * Errors: `PROXY_CLOSED`.
   */
  async apply(snapshot: MeshSnapshot): Promise<void> {
    if (this.#closed) throw new HeptadError('PROXY_CLOSED', 'cannot apply a snapshot: the proxy is closed');
    this.#context.state.apply(snapshot, this.#context);
    for (const connection of this.#live) connection.recheck();
    // Addresses before listeners, and one snapshot's turn after another's.
    const turn = this.#applying.then(async () => {
      if (this.#closed || this.#context.draining || this.#context.state.snapshot !== snapshot) return;
      await this.#syncAddresses(snapshot);
      if (!this.#closed) await this.#listeners.apply(snapshot);
    });
    this.#applying = turn.catch(() => {});
    await turn;
  }

  /** What it serves, and what it cannot. */
  status(): NodeProxyStatus {
    const listeners = this.#listeners.status;
    const problems = listeners.flatMap((listener) =>
      listener.error === undefined ? [] : [listener.error.message],
    );
    if (this.#addressProblem !== undefined) problems.push(this.#addressProblem);
    return {
      revision: this.#context.state.snapshot.revision,
      connections: this.#live.size,
      listeners,
      services: [...this.#context.state.clusters.values()].map((cluster) => ({
        name: cluster.service,
        requests: cluster.requests,
        errors: cluster.errors,
        endpoints: cluster.endpoints.map((endpoint) => ({
          id: endpoint.id,
          address: endpoint.address,
          state: endpoint.spec.state,
          circuit: endpoint.breaker.state,
          inFlight: endpoint.inFlight,
        })),
      })),
      problems,
    };
  }

  /**
   * Stops accepting, lets requests in flight end, closes connections as they become idle. What is left after
   * `deadlineMs` (default 10 s), tunnels included, is closed.
   */
  async drain(options: { deadlineMs?: number } = {}): Promise<void> {
    this.#context.draining = true;
    this.#listeners.close();
    for (const connection of this.#live) connection.drain();
    const deadline = new AbortController();
    const timeout = this.#context.clock.timer(options.deadlineMs ?? 10_000, () => deadline.abort());
    await new Promise<void>((resolve) => {
      if (this.#live.size === 0) {
        resolve();
        return;
      }
      this.#onEmpty = resolve;
      deadline.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    timeout.cancel();
    for (const connection of [...this.#live]) connection.destroy();
  }

  /** Closes everything now and takes the virtual addresses away. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#applying;
    await this.drain({ deadlineMs: 0 });
    this.#ticker.cancel();
    this.#addressRetry?.cancel();
    for (const cluster of this.#context.state.clusters.values()) cluster.close();
    await this.#addresses.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #syncAddresses(snapshot: MeshSnapshot): Promise<void> {
    const wanted = new Set(snapshot.services.flatMap((service) => service.virtualAddress ?? []));
    try {
      await this.#addresses.sync(wanted);
      this.#addressProblem = undefined;
    } catch (error) {
      this.#addressProblem = errorMessage(error);
      this.#addressRetry?.cancel();
      this.#addressRetry = this.#context.clock.timer(ADDRESS_RETRY_MS, () => this.#retryAddresses(), {
        unref: true,
      });
    }
  }

  #retryAddresses(): void {
    const { snapshot } = this.#context.state;
    // apply() reports its own failures through status(); a closed proxy has nothing to retry.
    if (!this.#closed && !this.#context.draining) this.apply(snapshot).catch(() => {});
  }

  #accept(socket: Socket, binding: ServicePortBinding): void {
    if (this.#live.size >= this.#maxConnections || this.#context.draining) {
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    const forget = (): void => {
      this.#live.delete(connection);
      if (this.#live.size === 0) this.#onEmpty?.();
    };
    const Kind = binding.mode === 'tcp' ? TcpConnection : DownstreamConnection;
    const connection: LiveConnection = new Kind(socket, binding, this.#context, forget);
    this.#live.add(connection);
    connection.start();
  }

  #tick(): void {
    const now = this.#context.clock.monotonicMs();
    for (const connection of this.#live) connection.tick(now);
    for (const cluster of this.#context.state.clusters.values()) cluster.sweep(now);
  }
}
