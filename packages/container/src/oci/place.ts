// A container's place among networks: none, the host's, another container's, or networks of the engine.

import { join } from 'node:path';
import type { ContainerSpec, NetworkAttachment } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import type { AttachRequest, NetworkBackend } from '../network/backend.ts';
import { isAlive } from '../system/processes.ts';

/** Where the places are found. */
export interface PlaceOptions {
  readonly networks: ReadonlyMap<string, NetworkBackend>;
  /** Used when a spec names no network: the name of one of `networks`, `none` or `host`. */
  readonly defaultNetwork: string;
  /** Finds another container by id or name. */
  readonly find: (reference: string) => ContainerRecord | undefined;
}

/** Where a container goes. */
export type Place =
  | { readonly kind: 'none' | 'host' }
  | { readonly kind: 'container'; readonly other: ContainerRecord; readonly namespace: string }
  | { readonly kind: 'network'; readonly network: NetworkBackend };

/** What connecting settled. */
export interface Connected {
  readonly address?: string;
  readonly networks?: readonly NetworkAttachment[];
}

const SHARED = 'container:';

/** Finds the place that a spec asks for. Throws `NETWORK_NOT_FOUND`, `CONTAINER_NOT_FOUND`, `INVALID_ARGUMENT`. */
export function placeOf(options: PlaceOptions, spec: ContainerSpec): Place {
  const name = spec.network ?? options.defaultNetwork;
  const place = find(options, spec, name);
  if (place.kind !== 'network' && (spec.ports?.length ?? 0) > 0) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot create container "${spec.name}": ports cannot be published on network "${name}"`,
      { hint: 'publish them on a container that has a network of the engine' },
    );
  }
  return place;
}

function find(options: PlaceOptions, spec: ContainerSpec, name: string): Place {
  if (name === 'none' || name === 'host') return { kind: name };
  if (name.startsWith(SHARED)) return shared(options, spec, name.slice(SHARED.length));
  const network = options.networks.get(name);
  if (network !== undefined) return { kind: 'network', network };
  throw new ContainerError(
    'NETWORK_NOT_FOUND',
    `cannot create container "${spec.name}": there is no network "${name}"`,
    { hint: `networks are: ${['none', 'host', ...options.networks.keys()].join(', ')}, container:NAME` },
  );
}

function shared(options: PlaceOptions, spec: ContainerSpec, reference: string): Place {
  const other = options.find(reference);
  if (other === undefined || other.name === spec.name) {
    throw new ContainerError(
      'CONTAINER_NOT_FOUND',
      `cannot create container "${spec.name}": there is no container "${reference}" whose network it could share`,
      { hint: 'create and start that container first' },
    );
  }
  if (other.process === undefined || !isAlive(other.process)) {
    throw new ContainerError(
      'ILLEGAL_TRANSITION',
      `cannot create container "${spec.name}": container "${other.name}", whose network it shares, does not run`,
      { hint: `start "${other.name}" first`, details: { from: other.state, to: 'running' } },
    );
  }
  if (spec.sysctls !== undefined && Object.keys(spec.sysctls).some((key) => key.startsWith('net.'))) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot create container "${spec.name}": kernel settings net.* belong to "${other.name}", whose network it shares`,
    );
  }
  return { kind: 'container', other, namespace: join('/proc', String(other.process.pid), 'ns/net') };
}

/**
 * The namespace as the spec writer wants it: a path, `host`, or `none` for one that the runtime makes. The latter is what a
 * user namespace needs, to be the owner of its network: see {@link adoptNamespace}.
 */
export async function prepareNamespace(
  place: Place,
  record: ContainerRecord,
  userNamespace: boolean,
): Promise<string> {
  if (userNamespace && (place.kind === 'host' || place.kind === 'container')) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create container "${record.name}": with a user namespace it cannot share a network that is not its own`,
      {
        hint: 'choose "none" or a network of the engine, or userNamespace "host"',
        details: { driver: 'oci' },
      },
    );
  }
  if (place.kind === 'network')
    return isAdopted(place, userNamespace) ? 'none' : await place.network.prepare(record.id);
  return place.kind === 'container' ? place.namespace : place.kind;
}

/** Whether the runtime makes the network namespace, and the network takes it over. */
export function isAdopted(place: Place, userNamespace: boolean): boolean {
  return userNamespace || (place.kind === 'network' && place.network.adopts === true);
}

/** Gives the network namespace that the runtime made to the network of the spec. */
export async function adoptNamespace(place: Place, record: ContainerRecord, pid: number): Promise<void> {
  if (place.kind !== 'network') return;
  if (place.network.adopt === undefined) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create container "${record.name}": network "${place.network.name}" takes no user namespaces`,
    );
  }
  await place.network.adopt(record.id, pid);
}

/** Plumbs the networks into a prepared namespace: that of the spec, then those joined later. */
export async function connectPlace(
  options: PlaceOptions,
  place: Place,
  record: ContainerRecord,
  namespace: string,
): Promise<Connected> {
  if (place.kind !== 'network') return { networks: [] };
  const { spec, id, name } = record;
  const common = { id, name, servers: spec.dns?.servers ?? [] };
  const address = await place.network.connect({
    ...common,
    ports: spec.ports ?? [],
    aliases: spec.networkAliases ?? [],
  });
  const attachments = [attachment(place.network, id, address)];
  let index = 1;
  for (const network of options.networks.values()) {
    const wanted = network === place.network ? undefined : await network.isMember?.(id);
    if (wanted === undefined) continue;
    const request: AttachRequest = {
      ...common,
      ...wanted,
      namespace,
      interfaceName: `eth${index}`,
      ports: [],
    };
    attachments.push(attachment(network, id, await network.connect(request)));
    index += 1;
  }
  return { ...(address === undefined ? {} : { address }), networks: attachments };
}

function attachment(network: NetworkBackend, id: string, address: string | undefined): NetworkAttachment {
  const known = network.attachmentOf?.(id);
  return known ?? { name: network.name, ...(address === undefined ? {} : { address }) };
}
