// The containers of one owner in a Docker Engine: found by id, prefix or name, listed, removed.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { requireNextState } from '../lifecycle/state-machine.ts';
import type { DockerConnection } from './connection.ts';
import { nameOf, stateOf } from './container-info.ts';
import { CREATION_LABEL, OWNER_LABEL } from './labels.ts';
import { type DockerContainer, parseContainer, parseIds } from './schema.ts';

// A short id must be long enough that nobody types one by accident.
const MIN_PREFIX_LENGTH = 12;
// The engine answers a description in a few milliseconds; more requests at once only queue up inside it.
const PARALLEL_INSPECTS = 8;

/** Looks containers up. */
export class DockerContainers {
  private readonly connection: DockerConnection;
  private readonly owner: string;

  constructor(connection: DockerConnection, owner: string) {
    this.connection = connection;
    this.owner = owner;
  }

  /** The container that a reference means. Throws `CONTAINER_NOT_FOUND`. */
  async find(reference: string): Promise<DockerContainer> {
    // An empty or odd reference would be another path of the API.
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(reference)) throw notFound(reference);
    const container = await this.inspect(reference);
    const { Id } = container ?? {};
    const byId = Id === reference || (reference.length >= MIN_PREFIX_LENGTH && Id?.startsWith(reference));
    if (container === undefined || !(byId || nameOf(container) === reference)) throw notFound(reference);
    if (container.Config.Labels?.[OWNER_LABEL] !== this.owner) throw notFound(reference);
    return container;
  }

  /** All with these labels. */
  async list(labels: Readonly<Record<string, string>>): Promise<DockerContainer[]> {
    return await this.withLabels(Object.entries(labels).map(([name, value]) => `${name}=${value}`));
  }

  /** The creations of all containers. */
  async creations(): Promise<Set<string>> {
    const containers = await this.withLabels([]);
    return new Set(containers.map((container) => container.Config.Labels?.[CREATION_LABEL] ?? container.Id));
  }

  /** Containers that came of one creation: one or none. */
  async ofCreation(creation: string): Promise<DockerContainer[]> {
    return await this.withLabels([`${CREATION_LABEL}=${creation}`]);
  }

  /** Removes, with the anonymous `volumes` when asked. Throws `ILLEGAL_TRANSITION` when it runs after all. */
  async remove(
    container: DockerContainer,
    { force, volumes }: { readonly force: boolean; readonly volumes: boolean },
  ): Promise<void> {
    const doing = `remove container "${nameOf(container)}"`;
    try {
      await this.connection.status({
        method: 'DELETE',
        path: `/containers/${container.Id}`,
        query: { force, v: volumes },
        doing,
      });
    } catch (error) {
      const now = await this.inspect(container.Id);
      if (now === undefined) throw notFound(container.Id);
      // It was started after we looked.
      requireNextState(nameOf(now), stateOf(now), force ? 'remove-by-force' : 'remove');
      throw error;
    }
  }

  private async withLabels(labels: readonly string[]): Promise<DockerContainer[]> {
    const filters = { label: [`${OWNER_LABEL}=${this.owner}`, ...labels] };
    const answer = await this.connection.json({
      method: 'GET',
      path: '/containers/json',
      query: { all: true, filters: JSON.stringify(filters) },
      doing: 'list containers',
    });
    const ids = parseIds(answer);
    const found: (DockerContainer | undefined)[] = [];
    for (let from = 0; from < ids.length; from += PARALLEL_INSPECTS) {
      const some = ids.slice(from, from + PARALLEL_INSPECTS);
      found.push(...(await Promise.all(some.map((id) => this.inspect(id)))));
    }
    // One that was removed between the list and the look is not there.
    return found.filter((container) => container !== undefined);
  }

  private async inspect(reference: string): Promise<DockerContainer | undefined> {
    const path = `/containers/${reference}/json`;
    try {
      return parseContainer(
        await this.connection.json({ method: 'GET', path, doing: `inspect ${reference}` }),
      );
    } catch (error) {
      if (isHeptadError(error, 'CONTAINER_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

function notFound(reference: string): ContainerError {
  return new ContainerError('CONTAINER_NOT_FOUND', `there is no container "${reference}"`, {
    hint: 'list() shows the containers of this runtime; an id may be shortened to 12 digits',
    details: { id: reference },
  });
}
