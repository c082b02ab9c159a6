// MeshClient: fetch for service names, without a proxy in between.

import { type EndpointSet, systemClock, systemRandom } from '@heptad/core';
import { type Dispatcher, fetch, type RequestInfo, type RequestInit, type Response } from 'undici';
import { RequestMetrics } from '../telemetry/metrics.ts';
import { type ClientContext, type MeshClientOptions, resolveClientOptions } from './context.ts';
import { MeshDispatcher } from './mesh-dispatcher.ts';

/**
 * Calls services by name: `http://catalog:8080/items`, or `http://catalog/items` for its first port. Finds endpoints in the
 * catalog, balances each request, retries what is safe within a budget, stops calling endpoints that keep failing, obeys
 * policies and rules, and carries the trace along. Metrics: `http.client.request.duration` and request and error counts.
 *
 * Errors of `fetch`: a `TypeError` as fetch has it, whose `cause` is the reason: `NO_ENDPOINT`, `CIRCUIT_OPEN`,
 * `POLICY_DENIED`, `UNKNOWN_PORT`, `OVERLOADED`, or undici's error of the last attempt.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import { MemoryStateStore } from '@heptad/core';
 * import { MeshClient, ServiceRegistry } from '@heptad/mesh';
 *
 * const server = createServer((request, response) => response.end('hello'));
 * await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
 * const address = server.address();
 * const port = typeof address === 'object' && address !== null ? address.port : 0;
 * const store = new MemoryStateStore();
 * const registry = new ServiceRegistry({ store });
 * await registry.register({ service: 'greeter', address: '127.0.0.1', ports: { http: port } });
 * const client = new MeshClient({ catalog: registry.catalog });
 * console.log(await (await client.fetch('http://greeter/')).text()); // hello
 * await client.close();
 * await registry.close();
 * server.close();
 * ```
 */
export class MeshClient implements AsyncDisposable {
  /** For `undici.request`, `setGlobalDispatcher` and whatever else takes a dispatcher. */
  readonly dispatcher: Dispatcher;
  readonly #context: ClientContext;

  constructor(options: MeshClientOptions) {
    this.#context = {
      catalog: options.catalog,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
      service: options.service,
      rules: options.rules ?? (() => undefined),
      ready: options.ready,
      options: resolveClientOptions(options),
      metrics: new RequestMetrics('http.client'),
    };
    this.dispatcher = new MeshDispatcher(this.#context);
  }

  /** As the platform's `fetch`; may be passed around without its object. */
  readonly fetch = (input: RequestInfo, init?: RequestInit): Promise<Response> =>
    fetch(input, { ...init, dispatcher: this.dispatcher });

  /** The endpoints of a service as the catalog has them now. */
  resolve(service: string): Promise<EndpointSet> {
    return this.#context.catalog.resolve(service);
  }

  /** Lets requests in flight end. */
  async close(): Promise<void> {
    await this.dispatcher.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
