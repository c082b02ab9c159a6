// TcpConnection: a client connection of a service in tcp mode: one endpoint for its whole life, bytes both ways.

import { connect, type Socket } from 'node:net';
import type { Timer } from '@heptad/core';
import type { ProxyContext } from './context.ts';
import type { ServicePortBinding } from './listeners.ts';
import { tunnel } from './tunnel.ts';
import type { UpstreamEndpoint } from './upstream-endpoint.ts';

/** A live TCP connection through the proxy. */
export class TcpConnection {
  readonly #client: Socket;
  readonly #binding: ServicePortBinding;
  readonly #context: ProxyContext;
  readonly #onClosed: () => void;
  readonly #address: string;
  readonly #beganAt: number;
  readonly #beganMs: number;
  readonly #deadlineMs: number;
  readonly #tried: UpstreamEndpoint[] = [];
  #endpoint: UpstreamEndpoint | undefined;
  #upstream: Socket | undefined;
  #timer: Timer | undefined;
  #ended = false;
  readonly #wake = (): void => this.#attempt();

  constructor(client: Socket, binding: ServicePortBinding, context: ProxyContext, onClosed: () => void) {
    this.#client = client;
    this.#binding = binding;
    this.#context = context;
    this.#onClosed = onClosed;
    this.#address = client.remoteAddress ?? '';
    this.#beganAt = context.clock.now();
    this.#beganMs = context.clock.monotonicMs();
    this.#deadlineMs = this.#beganMs + context.options.endpointWaitMs;
    client.on('error', () => client.destroy());
    client.on('close', () => this.#end('CLIENT_CLOSED'));
    client.pause();
  }

  /** Checks policy and connects to an endpoint. */
  start(): void {
    if (this.recheck()) this.#attempt();
  }

  /** Asks the policies again; closes the connection when they no longer allow it. */
  recheck(): boolean {
    const { state } = this.#context;
    const decision = state.decide(state.caller(this.#address), this.#binding.service, this.#binding.port);
    if (!decision.allowed) this.#end('POLICY_DENIED');
    return decision.allowed;
  }

  /** Nothing is waiting to be checked by time here: connecting has its own timer. */
  tick(_now: number): void {}

  /** Draining ends it only at the deadline: half a byte stream is of no use to anybody. */
  drain(): void {}

  destroy(): void {
    this.#end('PROXY_CLOSED');
  }

  #attempt(): void {
    if (this.#ended) return;
    const cluster = this.#context.state.clusters.get(this.#binding.service);
    const choice = cluster?.choose(undefined, this.#tried);
    if (cluster === undefined || choice === undefined) {
      this.#end('NO_SUCH_SERVICE');
      return;
    }
    if (choice.endpoint === undefined) {
      const left = this.#deadlineMs - this.#context.clock.monotonicMs();
      if (choice.reason !== 'none' || left <= 0 || !cluster.wait(this.#wake)) {
        this.#end('NO_ENDPOINT');
        return;
      }
      this.#timer?.cancel();
      this.#timer = this.#context.clock.timer(left, () => {
        cluster.stopWaiting(this.#wake);
        this.#attempt();
      });
      return;
    }
    this.#connect(choice.endpoint, choice.permit);
  }

  #connect(endpoint: UpstreamEndpoint, permit: number): void {
    this.#endpoint = endpoint;
    this.#tried.push(endpoint);
    endpoint.inFlight += 1;
    const service = this.#context.state.service(this.#binding.service);
    const name = service?.ports.find((port) => port.port === this.#binding.port)?.name ?? '';
    const upstream = connect({
      host: endpoint.address,
      port: endpoint.portFor(name, this.#binding.port),
      noDelay: true,
      allowHalfOpen: true,
    });
    this.#upstream = upstream;
    const failed = (): void => {
      this.#timer?.cancel();
      upstream.destroy();
      endpoint.inFlight -= 1;
      this.#upstream = undefined;
      endpoint.breaker.record(permit, false);
      if (this.#ended) return;
      // Nothing was sent, so another endpoint may be tried whatever the protocol.
      if (this.#tried.length < this.#context.options.maxAttempts) this.#attempt();
      else this.#end('UPSTREAM_UNREACHABLE');
    };
    upstream.once('error', failed);
    this.#timer?.cancel();
    this.#timer = this.#context.clock.timer(this.#context.options.connectTimeoutMs, () => {
      upstream.off('error', failed);
      upstream.on('error', () => {});
      failed();
    });
    upstream.once('connect', () => {
      this.#timer?.cancel();
      upstream.off('error', failed);
      endpoint.breaker.record(permit, true);
      upstream.setKeepAlive(true, 60_000);
      this.#client.setKeepAlive(true, 60_000);
      tunnel(this.#client, upstream, (error) => {
        endpoint.inFlight -= 1;
        this.#upstream = undefined;
        this.#end(error === undefined ? undefined : 'CONNECTION_BROKEN');
      });
    });
  }

  #end(error: string | undefined): void {
    if (this.#ended) return;
    // The tunnel reports the end of an established connection itself, after both directions are through.
    if (error === 'CLIENT_CLOSED' && this.#upstream !== undefined && !this.#upstream.connecting) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#context.state.clusters.get(this.#binding.service)?.stopWaiting(this.#wake);
    // A refusal is a reset, not an orderly end that looks like an empty answer.
    if (error === undefined) this.#client.destroy();
    else this.#client.resetAndDestroy();
    this.#upstream?.destroy();
    this.#onClosed();
    const caller = this.#context.state.caller(this.#address);
    this.#context.onAccess?.({
      at: this.#beganAt,
      kind: 'tcp',
      service: this.#binding.service,
      port: this.#binding.port,
      sourceAddress: caller.address ?? this.#address,
      source: caller.service,
      method: undefined,
      path: undefined,
      status: 0,
      durationMs: this.#context.clock.monotonicMs() - this.#beganMs,
      endpoint: this.#endpoint?.id,
      attempts: this.#tried.length,
      requestId: undefined,
      traceId: undefined,
      error,
    });
  }
}
