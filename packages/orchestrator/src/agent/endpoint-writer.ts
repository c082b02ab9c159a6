// The Endpoint of one container: there once it was ready, draining while it drains, gone when it stops.

import { type ContainerResource, isHeptadError, type Resources } from '@heptad/core';
import { CONTAINER_LABEL } from '../plan/identity.ts';

/** What an endpoint should say. */
export interface EndpointWish {
  readonly address: string;
  readonly state: 'ready' | 'draining' | 'unready';
}

/** Writes one container's endpoint, and only what changed. */
export class EndpointWriter {
  readonly #endpoints: Resources<'Endpoint'>;
  readonly #node: string;
  readonly #zone: string | undefined;
  /** What was last written; undefined: not known, look first. */
  #written: string | undefined;

  constructor(endpoints: Resources<'Endpoint'>, node: string, zone: string | undefined) {
    this.#endpoints = endpoints;
    this.#node = node;
    this.#zone = zone;
  }

  /** Forget what was written: others (the node controller) may have changed it. */
  doubt(): void {
    this.#written = undefined;
  }

  /** Makes the endpoint as wished. One that was never ready is not created. */
  async sync(container: ContainerResource, wish: EndpointWish): Promise<void> {
    const text = JSON.stringify([wish, container.spec.service, container.generation]);
    if (text === this.#written) return;
    const { name, id } = container;
    const { service, template } = container.spec;
    const existing = await this.#endpoints.find(name);
    if (existing === undefined && wish.state !== 'ready') return;
    const spec = {
      service,
      node: this.#node,
      address: wish.address,
      ports: Object.fromEntries(template.ports.map((port) => [port.name, port.port])),
      ...(this.#zone === undefined ? {} : { zone: this.#zone }),
      weight: existing?.spec.weight ?? 1,
      version: template.version,
      labels: { ...template.labels, [CONTAINER_LABEL]: id },
    };
    await this.#endpoints.apply({ name, spec, status: { state: wish.state } });
    await this.#endpoints.updateStatus(name, () => ({ state: wish.state }));
    this.#written = text;
  }

  /** Removes the endpoint; no error when there is none. */
  async remove(container: ContainerResource): Promise<void> {
    this.#written = undefined;
    try {
      await this.#endpoints.remove(container.name);
    } catch (error) {
      if (!isHeptadError(error, 'NOT_FOUND')) throw error;
    }
  }
}
