// What changes about a container while it runs: its limits and its /etc/hosts.

import { type ContainerInfo, type ContainerResource, type ContainerSpec, isHeptadError } from '@heptad/core';
import { canonicalJson } from '../plan/identity.ts';
import { limitsOf, serviceHosts } from './container-spec.ts';
import type { AgentContext } from './context.ts';

/** Makes the limits of a running container those of its resource. */
export async function applyLimits(
  context: AgentContext,
  resource: ContainerResource,
  info: ContainerInfo,
): Promise<void> {
  const wanted = limitsOf(resource);
  const same = wanted.cpuMillis === info.limits.cpuMillis && wanted.memoryBytes === info.limits.memoryBytes;
  const pids = wanted.pids === undefined || wanted.pids === info.limits.pids;
  if (same && pids) return;
  try {
    await context.runtime.update(info.id, wanted);
    context.tell(resource, 'update', `limits are now ${JSON.stringify(wanted)}`);
  } catch (error) {
    // A runtime without limits says so when it is probed; the container is still of use.
    if (!isHeptadError(error, 'NOT_SUPPORTED')) throw error;
  }
}

/** The /etc/hosts of one container: services come and go while it runs. */
export class HostsFile {
  readonly #context: AgentContext;
  #written: string | undefined;

  constructor(context: AgentContext) {
    this.#context = context;
  }

  /** It was created with these. */
  created(spec: ContainerSpec): void {
    this.#written = canonicalJson(spec.hosts);
  }

  /** Writes the names there are now, if they are others. */
  async apply(info: ContainerInfo): Promise<void> {
    const hosts = serviceHosts(this.#context.knownServices(), this.#context.hosts);
    const text = canonicalJson(hosts);
    if (text === this.#written) return;
    try {
      await this.#context.runtime.setHosts(info.id, hosts);
    } catch (error) {
      if (!isHeptadError(error, 'NOT_SUPPORTED')) throw error;
    }
    this.#written = text;
  }
}
