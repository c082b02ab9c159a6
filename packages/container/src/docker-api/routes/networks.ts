// Networks: listed, inspected, made, removed, joined and left.

import type { ContainerInfo } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../../errors.ts';
import type { NetworkSpec } from '../../network/network-info.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';
import { Filters, truthy } from '../filters.ts';
import { findContainer } from '../find-container.ts';
import { type ApiNetwork, OPTIONS_LABEL } from '../networks.ts';
import { timeText } from '../show-container.ts';
import { untilOf } from './containers-list.ts';

const LIST_FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

const flag = z.boolean().nullish();
const text = z.string().nullish();
const createSchema = z.looseObject({
  Name: z.string(),
  Driver: text,
  Internal: flag,
  Ingress: flag,
  EnableIPv6: flag,
  ConfigOnly: flag,
  IPAM: z
    .looseObject({
      Driver: text,
      Config: z.array(z.looseObject({ Subnet: text, Gateway: text, IPRange: text })).nullish(),
    })
    .nullish(),
  Options: z.record(z.string(), z.string()).nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
});
const connectSchema = z.looseObject({
  Container: z.string(),
  Force: flag,
  EndpointConfig: z
    .looseObject({
      Aliases: z.array(z.string()).nullish(),
      IPAMConfig: z.looseObject({ IPv4Address: text, IPv6Address: text }).nullish(),
    })
    .nullish(),
});

/** Containers that have a place in a network. */
function membersOf(
  context: ApiContext,
  network: ApiNetwork,
  infos: readonly ContainerInfo[],
): ContainerInfo[] {
  return infos.filter((info) =>
    info.networks.some(({ name }) => context.networks.named(name)?.id === network.id),
  );
}

function shown(
  context: ApiContext,
  network: ApiNetwork,
  infos: readonly ContainerInfo[],
): Record<string, unknown> {
  const prefix = network.subnet?.split('/')[1] ?? '';
  const gateway = network.gateway === undefined ? {} : { Gateway: network.gateway };
  const members = membersOf(context, network, infos).map((info) => {
    const place = info.networks.find(({ name }) => context.networks.named(name)?.id === network.id);
    const member = {
      Name: info.name,
      EndpointID: info.id,
      MacAddress: place?.macAddress ?? '',
      IPv4Address: place?.address === undefined ? '' : `${place.address}/${prefix}`,
      IPv6Address: '',
    };
    return [info.id, member] as const;
  });
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
      Config: network.subnet === undefined ? [] : [{ Subnet: network.subnet, ...gateway }],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(members),
    Options: network.options,
    Labels: network.labels,
  };
}

/** `GET /networks` */
export async function listNetworks(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), LIST_FILTERS);
  const infos = await context.runtime.list();
  const isDangling = (network: ApiNetwork): boolean =>
    network.removable && membersOf(context, network, infos).length === 0;
  const chosen = context.networks
    .list()
    .filter(
      (network) =>
        filters.labels(network.labels) &&
        filters.any('name', (name) => network.name.includes(name.replace(/^\^|\$$/g, ''))) &&
        filters.any('id', (id) => network.id.startsWith(id)) &&
        filters.any('driver', (driver) => network.driver === driver) &&
        filters.any('scope', (scope) => scope === 'local') &&
        filters.any('type', (type) => (type === 'custom') === network.removable) &&
        (filters.get('dangling').length === 0 || filters.flag('dangling', false) === isDangling(network)),
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

/** `POST /networks/create` */
export async function createNetwork(context: ApiContext, call: ApiCall): Promise<void> {
  const request = await call.json(createSchema);
  await context.networks.engineNetworks.create(networkSpec(request));
  await context.networks.refresh();
  const { id, name } = context.networks.find(request.Name);
  context.events.emit(apiEvent('network', 'create', id, context.clock.now(), { name, type: 'bridge' }));
  call.send(201, { Id: id, Warning: '' });
}

/** What a client asks a network to be. Throws `NOT_SUPPORTED` for what the engine's bridges are not. */
function networkSpec(request: z.infer<typeof createSchema>): NetworkSpec {
  const refuse = (what: string): never => {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create network "${request.Name}": ${what} is not supported`,
    );
  };
  const driver = request.Driver || 'bridge';
  if (driver !== 'bridge' && driver !== 'default') refuse(`driver "${driver}"`);
  if (request.EnableIPv6 === true) refuse('IPv6');
  if (request.Ingress === true || request.ConfigOnly === true) refuse('a network of a swarm');
  const configs = request.IPAM?.Config ?? [];
  const [config] = configs;
  if (configs.length > 1) refuse('more than one subnet');
  if (config?.IPRange) refuse('an address range within the subnet');
  const options = new Map(Object.entries(request.Options ?? {}));
  const take = (name: string): string | undefined => {
    const value = options.get(`com.docker.network.bridge.${name}`);
    options.delete(`com.docker.network.bridge.${name}`);
    return value;
  };
  const bridgeName = take('name');
  const isolated = !truthy(take('enable_icc') ?? 'true');
  const masquerade = request.Internal !== true && truthy(take('enable_ip_masquerade') ?? 'true');
  take('host_binding_ipv4');
  const [unknown] = options.keys();
  if (unknown !== undefined) refuse(`option "${unknown}"`);
  return {
    name: request.Name,
    isolated,
    masquerade,
    labels: {
      ...request.Labels,
      ...(request.Options && Object.keys(request.Options).length > 0
        ? { [OPTIONS_LABEL]: JSON.stringify(request.Options) }
        : {}),
    },
    ...(config?.Subnet ? { subnet: config.Subnet } : {}),
    ...(config?.Gateway ? { gateway: config.Gateway } : {}),
    ...(bridgeName ? { bridgeName } : {}),
  };
}

/** `DELETE /networks/{id}` */
export async function removeNetwork(context: ApiContext, call: ApiCall): Promise<void> {
  const network = context.networks.find(call.parameter('id'));
  if (!network.removable) {
    throw new ContainerError(
      'ACCESS_DENIED',
      `${network.name} is a pre-defined network and cannot be removed`,
    );
  }
  await remove(context, network);
  call.send(204);
}

async function remove(context: ApiContext, { id, name }: ApiNetwork): Promise<void> {
  await context.networks.engineNetworks.remove(name);
  context.events.emit(apiEvent('network', 'destroy', id, context.clock.now(), { name, type: 'bridge' }));
}

/** `POST /networks/prune` */
export async function pruneNetworks(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), ['label', 'label!', 'until']);
  const until = untilOf(context, filters);
  const infos = await context.runtime.list();
  const deleted: string[] = [];
  for (const network of context.networks.list()) {
    const old = until === undefined || network.createdAt < until;
    if (!network.removable || !old || !filters.labels(network.labels)) continue;
    if (membersOf(context, network, infos).length > 0) continue;
    try {
      await remove(context, network);
      deleted.push(network.name);
    } catch (error) {
      // Somebody joined meanwhile.
      if (!isHeptadError(error, 'NETWORK_IN_USE')) throw error;
    }
  }
  call.send(200, { NetworksDeleted: deleted });
}

/** `POST /networks/{id}/connect` */
export async function connectNetwork(context: ApiContext, call: ApiCall): Promise<void> {
  const network = context.networks.find(call.parameter('id'));
  const { Container, EndpointConfig } = await call.json(connectSchema);
  if (EndpointConfig?.IPAMConfig?.IPv4Address || EndpointConfig?.IPAMConfig?.IPv6Address) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot connect to network ${network.name}: fixed addresses are not supported`,
    );
  }
  const info = await findContainer(context, Container);
  const aliases = EndpointConfig?.Aliases ?? [];
  await context.networks.engineNetworks.connect(network.name, info.id, { aliases });
  context.events.emit(
    apiEvent('network', 'connect', network.id, context.clock.now(), {
      container: info.id,
      name: network.name,
      type: 'bridge',
    }),
  );
  call.send(200);
}

/** `POST /networks/{id}/disconnect` */
export async function disconnectNetwork(context: ApiContext, call: ApiCall): Promise<void> {
  const network = context.networks.find(call.parameter('id'));
  const info = await findContainer(context, (await call.json(connectSchema)).Container);
  await context.networks.engineNetworks.disconnect(network.name, info.id);
  context.events.emit(
    apiEvent('network', 'disconnect', network.id, context.clock.now(), {
      container: info.id,
      name: network.name,
      type: 'bridge',
    }),
  );
  call.send(200);
}
