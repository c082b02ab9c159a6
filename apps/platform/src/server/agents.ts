// Finds the agent that has a container, and what is needed to ask it.

import {
  type ContainerInfo,
  type ContainerResource,
  HeptadError,
  type Resources,
  type StateStore,
} from '@heptad/core';
import { request } from 'undici';
import { z } from 'zod';

/** How to reach an agent. */
export interface AgentAddress {
  readonly url: string;
  readonly token: string;
}

const stored = z.object({ url: z.url(), token: z.string().min(1) });

/** Key under which a node's agent says where it is. Only the platform's own processes can read it. */
export function agentKey(node: string): string {
  return `/nodes/${node}/agent`;
}

/** Agents by the containers they run. */
export class AgentDirectory {
  readonly #store: StateStore;
  readonly #containers: Resources<'Container'>;

  constructor(store: StateStore, containers: Resources<'Container'>) {
    this.#store = store;
    this.#containers = containers;
  }

  /** The agent of a container. `NOT_FOUND`; `UNAVAILABLE` when it is not placed yet or its agent is unknown. */
  async of(container: string): Promise<AgentAddress> {
    const { spec } = await this.#containers.get(container);
    if (spec.node === undefined) {
      throw new HeptadError('UNAVAILABLE', `container "${container}" has no node yet`, {
        hint: 'heptad ps says what it waits for',
        retryable: true,
      });
    }
    const { kvs } = await this.#store.range({ key: agentKey(spec.node) });
    const parsed = stored.safeParse(kvs[0] === undefined ? undefined : JSON.parse(kvs[0].value));
    if (parsed.success) return parsed.data;
    throw new HeptadError('UNAVAILABLE', `the agent of node "${spec.node}" has not said where it is`, {
      retryable: true,
    });
  }

  /** What the runtime knows of a container, its process id among it. */
  async inspect(container: ContainerResource): Promise<ContainerInfo> {
    const agent = await this.of(container.name);
    const answer = await request(`${agent.url}/containers/${container.name}`, {
      headers: { authorization: `Bearer ${agent.token}` },
    });
    const body: unknown = await answer.body.json();
    if (answer.statusCode === 200) return body as ContainerInfo;
    throw new HeptadError(
      'UNAVAILABLE',
      `the agent of container "${container.name}" answered ${answer.statusCode}`,
      { retryable: true },
    );
  }
}
