// The reporter of one container: writes its status and its endpoint, and never stands in the way of running it.

import { Backoff, type ContainerResource, isHeptadError } from '@heptad/core';
import { canonicalJson } from '../plan/identity.ts';
import type { AgentContext } from './context.ts';
import { EndpointWriter } from './endpoint-writer.ts';
import { type Observed, statusOf } from './observed.ts';

const RETELL_WAIT = { firstMs: 200, longestMs: 5_000 };

/** See the file's first line. What cannot be told now is told when its worker wakes again. */
export class ContainerReporter {
  readonly #context: AgentContext;
  readonly #id: string;
  readonly #wakeAfter: (ms: number) => void;
  readonly #endpoint: EndpointWriter;
  readonly #backoff: Backoff;
  #published: string | undefined;

  constructor(context: AgentContext, id: string, wakeAfter: (ms: number) => void) {
    this.#context = context;
    this.#id = id;
    this.#wakeAfter = wakeAfter;
    this.#endpoint = new EndpointWriter(context.endpoints, context.node.name, context.node.zone);
    this.#backoff = new Backoff(RETELL_WAIT, context.random);
  }

  /** Forgets what was written: others may have changed it since. */
  doubt(): void {
    this.#endpoint.doubt();
    this.#published = undefined;
  }

  /** Writes the status if it differs from the last one written. */
  async publish(resource: ContainerResource, observed: Observed): Promise<void> {
    const { containers, node } = this.#context;
    const { name, generation } = resource;
    const text = canonicalJson([observed, generation]);
    if (text === this.#published) return;
    await this.#write(async () => {
      await containers.updateStatus(name, (current) =>
        // Bound elsewhere, or another container of the same name: not ours to tell of.
        current.id !== this.#id || current.spec.node !== node.name
          ? undefined
          : statusOf(observed, generation, current.status),
      );
      this.#published = text;
    });
  }

  /** Makes the endpoint say what is so. A service without ports has none. */
  async syncEndpoint(resource: ContainerResource, observed: Observed): Promise<void> {
    const { drainUntil, template } = resource.spec;
    const { address, ready } = observed;
    if (address === undefined || template.ports.length === 0) return;
    const state = !ready ? 'unready' : drainUntil === undefined ? 'ready' : 'draining';
    await this.#write(() => this.#endpoint.sync(resource, { address, state }));
  }

  /** Removes the endpoint. Unlike the others this rejects: nothing is stopped that may still be in traffic. */
  removeEndpoint(resource: ContainerResource): Promise<void> {
    return this.#endpoint.remove(resource);
  }

  async #write(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (isHeptadError(error, 'NOT_FOUND') || this.#context.signal.aborted) return;
      this.#context.onError(error);
      this.#wakeAfter(this.#backoff.nextMs());
      return;
    }
    this.#backoff.reset();
  }
}
