// MeshDispatcher: an undici Dispatcher whose origins are services.

import { isIP } from 'node:net';
import { HeptadError } from '@heptad/core';
import { Agent, Dispatcher } from 'undici';
import { Call } from './call.ts';
import { ClientCluster } from './client-cluster.ts';
import type { ClientContext } from './context.ts';

/** Services a program calls; a name per request would otherwise fill the memory with clusters. */
const MAX_SERVICES = 1_000;
const SERVICE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Sends requests whose host is a service name through the mesh, everything else (names with dots, addresses, `localhost`,
 * https) straight to its host. For use wherever undici takes a dispatcher.
 */
export class MeshDispatcher extends Dispatcher {
  readonly #context: ClientContext;
  readonly #clusters = new Map<string, ClientCluster>();
  readonly #outside: Agent = new Agent();
  #closed = false;

  /** Made by `MeshClient`. */
  constructor(context: ClientContext) {
    super();
    this.#context = context;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const url = new URL(String(options.origin ?? ''));
    if (!isServiceUrl(url)) return this.#outside.dispatch(options, handler);
    void new Call(options, handler, this.#cluster(url.hostname), this.#context, url).run();
    return true;
  }

  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    return settle(this.#shut(false), callback);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(first?: Error | null | (() => void), second?: () => void): Promise<void> | void {
    return settle(this.#shut(true), typeof first === 'function' ? first : second);
  }

  #cluster(service: string): ClientCluster {
    if (this.#closed)
      throw new HeptadError('CLIENT_CLOSED', `cannot call service ${service}: the client is closed`);
    let cluster = this.#clusters.get(service);
    if (cluster === undefined) {
      if (this.#clusters.size >= MAX_SERVICES) {
        throw new HeptadError(
          'TOO_MANY_SERVICES',
          `cannot call service ${service}: ${MAX_SERVICES} are followed already`,
          {
            hint: 'check that service names are not made from user input',
          },
        );
      }
      cluster = new ClientCluster(service, this.#context);
      this.#clusters.set(service, cluster);
    }
    return cluster;
  }

  async #shut(force: boolean): Promise<void> {
    this.#closed = true;
    const clusters = [...this.#clusters.values()];
    this.#clusters.clear();
    await Promise.all(clusters.map((cluster) => cluster.close(force)));
    await (force ? this.#outside.destroy() : this.#outside.close());
  }
}

function isServiceUrl(url: URL): boolean {
  const { hostname } = url;
  return (
    url.protocol === 'http:' &&
    hostname !== 'localhost' &&
    isIP(hostname) === 0 &&
    SERVICE_NAME.test(hostname)
  );
}

function settle(work: Promise<void>, callback: (() => void) | undefined): Promise<void> | void {
  if (callback === undefined) return work;
  void work.then(callback, callback);
}
