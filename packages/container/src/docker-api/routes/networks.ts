// Networks: listed, inspected, made and removed where the engine can.

import type { ContainerInfo } from '@heptad/core';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { Filters } from '../filters.ts';
import type { ApiNetwork } from '../networks.ts';
import { timeText } from '../show-container.ts';

const LIST_FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

/** Containers that have a place in a network. */
export function membersOf(
  context: ApiContext,
  network: ApiNetwork,
  infos: readonly ContainerInfo[],
): ContainerInfo[] {
  return infos.filter((info) =>
    info.networks.some(({ name }) => context.networks.ofRuntime(name)?.id === network.id),
  );
}

function shown(
  context: ApiContext,
  network: ApiNetwork,
  infos: readonly ContainerInfo[],
): Record<string, unknown> {
  const prefix = network.subnet?.split('/')[1] ?? '';
  return {
    Name: network.name,
    Id: network.id,
    Created: timeText(network.createdAt),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv6: false,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config:
        network.subnet === undefined
          ? []
          : [
              {
                Subnet: network.subnet,
                ...(network.gateway === undefined ? {} : { Gateway: network.gateway }),
              },
            ],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      membersOf(context, network, infos).map((info) => {
        const place = info.networks.find(({ name }) => context.networks.ofRuntime(name)?.id === network.id);
        const address = place?.address === undefined ? '' : `${place.address}/${prefix}`;
        return [
          info.id,
          {
            Name: info.name,
            EndpointID: info.id,
            MacAddress: place?.macAddress ?? '',
            IPv4Address: address,
            IPv6Address: '',
          },
        ];
      }),
    ),
    Options: network.bridgeName === undefined ? {} : { 'com.docker.network.bridge.name': network.bridgeName },
    Labels: network.labels,
  };
}

/** `GET /networks` */
export async function listNetworks(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), LIST_FILTERS);
  const infos = await context.runtime.list();
  const chosen = context.networks
    .list()
    .filter(
      (network) =>
        filters.labels(network.labels) &&
        filters.any('name', (name) => network.name.includes(name)) &&
        filters.any('id', (id) => network.id.startsWith(id)) &&
        filters.any('driver', (driver) => network.driver === driver) &&
        filters.any('scope', (scope) => scope === 'local') &&
        filters.any('type', (type) => (type === 'custom') === network.removable) &&
        (filters.get('dangling').length === 0 ||
          filters.flag('dangling', false) ===
            (network.removable && membersOf(context, network, infos).length === 0)),
    );
  call.send(
    200,
    chosen.map((network) => ({ ...shown(context, network, []), Containers: {} })),
  );
}

/** `GET /networks/{id}` */
export async function inspectNetwork(context: ApiContext, call: ApiCall): Promise<void> {
  const network = context.networks.find(call.parameter('id'));
  call.send(200, shown(context, network, await context.runtime.list()));
}
