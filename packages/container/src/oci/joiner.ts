// Lets a running container join and leave networks, and keeps what is known of it in step.

import type { ContainerId, NetworkAttachment } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import type { EngineNetwork } from '../network/engine-network.ts';
import { namespaceName, namespacePath } from '../network/namespaces.ts';
import type { NetworkJoiner } from '../network/networks.ts';
import { isAlive } from '../system/processes.ts';
import { type PlaceOptions, placeOf } from './place.ts';

/** How a container is found and had to oneself; changes of its record are saved afterwards. */
export type ChangeRecord = (
  reference: string,
  section: (record: ContainerRecord) => Promise<void>,
) => Promise<void>;

// eth0 is the network of the spec; nobody joins more than a handful of others.
const MAX_INTERFACES = 16;

/** See {@link NetworkJoiner}. */
export class OciJoiner implements NetworkJoiner {
  private readonly places: PlaceOptions;
  private readonly change: ChangeRecord;

  constructor(places: PlaceOptions, change: ChangeRecord) {
    this.places = places;
    this.change = change;
  }

  async join(network: EngineNetwork, container: string, aliases: readonly string[]): Promise<void> {
    await this.change(container, async (record) => {
      const { id, name } = record;
      this.requirePlace(record, network);
      if ((await network.isMember(id)) !== undefined || network.attachmentOf(id) !== undefined) {
        throw new ContainerError(
          'ILLEGAL_TRANSITION',
          `cannot connect container "${name}": it is on network "${network.name}" already`,
        );
      }
      await network.remember(id, aliases);
      if (record.process === undefined || !isAlive(record.process)) return;
      try {
        await network.connect({
          id,
          name,
          aliases,
          ports: [],
          servers: record.spec.dns?.servers ?? [],
          namespace: namespacePath(namespaceName(id)),
          interfaceName: this.freeInterface(id),
        });
      } catch (error) {
        // Every ADD is followed by a DEL, one that failed too.
        await network.disconnect(id).catch(() => undefined);
        await network.forget(id);
        throw error;
      }
      record.networks = this.attachmentsOf(id);
    });
  }

  async leave(network: EngineNetwork, container: string): Promise<void> {
    await this.change(container, async (record) => {
      const { id, name } = record;
      const member = await network.isMember(id);
      const attached = network.attachmentOf(id);
      if (member === undefined && attached === undefined) {
        throw new ContainerError(
          'ILLEGAL_TRANSITION',
          `cannot disconnect container "${name}": it is not on network "${network.name}"`,
        );
      }
      await network.disconnect(id);
      await network.forget(id);
      record.networks = this.attachmentsOf(id);
      if (attached?.address !== undefined && attached.address === record.address) record.address = undefined;
    });
  }

  private requirePlace(record: ContainerRecord, network: EngineNetwork): void {
    const name = record.spec.network ?? this.places.defaultNetwork;
    const isMachine = record.spec.runtime === 'vm';
    const ownNamespace = !isMachine && !['none', 'host'].includes(name) && !name.startsWith('container:');
    if (ownNamespace && placeOf(this.places, record.spec).kind === 'network') return;
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot connect container "${record.name}" to network "${network.name}": ${isMachine ? 'it is a virtual machine' : `its network is "${name}"`}`,
      { hint: 'create it on a network of the engine', details: { driver: 'oci' } },
    );
  }

  private attachmentsOf(id: ContainerId): NetworkAttachment[] {
    return [...this.places.networks.values()].flatMap((network) => network.attachmentOf?.(id) ?? []);
  }

  /** The first `ethN` that no network of the container has. */
  private freeInterface(id: ContainerId): string {
    const taken = new Set([...this.places.networks.values()].map((network) => network.interfaceOf?.(id)));
    for (let index = 1; index < MAX_INTERFACES; index += 1) {
      if (!taken.has(`eth${index}`)) return `eth${index}`;
    }
    throw new ContainerError('LIMIT_EXCEEDED', `a container can be on ${MAX_INTERFACES} networks at most`);
  }
}
