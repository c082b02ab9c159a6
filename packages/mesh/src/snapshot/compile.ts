// compileSnapshot: resources in, one immutable MeshSnapshot out. Pure.

import type {
  ContainerResource,
  EndpointResource,
  EndpointSet,
  MeshService,
  MeshSnapshot,
  NetworkPolicyResource,
  ServiceEndpoint,
  ServiceResource,
  TrafficRuleResource,
} from '@heptad/core';

/** What a {@link MeshSnapshot} is made of. */
export interface MeshResources {
  /** The state store's revision they were read at. */
  readonly revision: number;
  readonly services: Iterable<ServiceResource>;
  readonly endpoints: Iterable<EndpointResource>;
  readonly policies: Iterable<NetworkPolicyResource>;
  readonly rules: Iterable<TrafficRuleResource>;
  readonly containers: Iterable<ContainerResource>;
}

/** Address of published ports that name none: reachable from this machine only. */
const DEFAULT_PUBLISHED_ADDRESS = '127.0.0.1';

/**
 * Compiles resources into the snapshot every data plane takes whole. Everything is sorted by name, so equal resources
 * make equal snapshots. An endpoint whose container is on its way out counts as draining even before anybody has
 * written so, which closes the gap in which it would still get new requests.
 */
export function compileSnapshot(resources: MeshResources): MeshSnapshot {
  const containers = [...resources.containers];
  const leaving = new Set<string>();
  const workloads: Record<string, MeshSnapshot['workloads'][string]> = {};
  for (const container of containers) {
    const address = container.status.address;
    if (address === undefined || container.spec.node === undefined) continue;
    if (container.status.status !== 'Running' && container.status.status !== 'Paused') continue;
    workloads[address] = { service: container.spec.service, labels: container.spec.template.labels };
    if (isLeaving(container)) leaving.add(address);
  }
  return {
    revision: resources.revision,
    services: byName([...resources.services]).map(compileService),
    endpoints: groupEndpoints([...resources.endpoints], leaving, resources.revision),
    policies: byName([...resources.policies]).map(({ name, spec }) => ({ name, spec })),
    rules: byName([...resources.rules]).map(({ name, spec }) => ({ name, spec })),
    workloads,
  };
}

function isLeaving(container: ContainerResource): boolean {
  return (
    container.deletedAt !== undefined ||
    container.spec.desired === 'stopped' ||
    container.spec.drainUntil !== undefined
  );
}

function compileService(service: ServiceResource): MeshService {
  const virtualAddress = service.status.virtualAddress;
  return {
    name: service.name,
    ...(virtualAddress === undefined ? {} : { virtualAddress }),
    ports: service.spec.ports.map((port) => ({
      name: port.name,
      port: port.port,
      protocol: port.protocol,
      ...(port.published === undefined
        ? {}
        : {
            published: { address: port.publishedAddress ?? DEFAULT_PUBLISHED_ADDRESS, port: port.published },
          }),
    })),
    labels: { ...service.spec.labels, ...service.labels },
    mode: service.spec.trafficMode,
  };
}

function groupEndpoints(
  endpoints: EndpointResource[],
  leaving: ReadonlySet<string>,
  version: number,
): EndpointSet[] {
  const sets = new Map<string, ServiceEndpoint[]>();
  for (const endpoint of byName(endpoints)) {
    const list = sets.get(endpoint.spec.service) ?? [];
    list.push(toServiceEndpoint(endpoint, leaving.has(endpoint.spec.address)));
    sets.set(endpoint.spec.service, list);
  }
  return [...sets]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([service, list]) => ({ service, version, endpoints: list }));
}

/** An Endpoint resource as data planes see it; `leaving` or a mark of deletion turns ready into draining. */
export function toServiceEndpoint(endpoint: EndpointResource, leaving = false): ServiceEndpoint {
  const { spec, status } = endpoint;
  const goes = leaving || endpoint.deletedAt !== undefined;
  return {
    id: endpoint.name,
    address: spec.address,
    ports: spec.ports,
    weight: spec.weight,
    state: goes && status.state === 'ready' ? 'draining' : status.state,
    ...(spec.zone === undefined ? {} : { zone: spec.zone }),
    ...(spec.version === undefined ? {} : { version: spec.version }),
  };
}

function byName<R extends { name: string }>(resources: R[]): R[] {
  return resources.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
