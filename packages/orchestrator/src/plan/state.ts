// What a planner looks at: one consistent picture of the cluster, and the draft in which it tries out its steps.

import {
  type ContainerResource,
  type EndpointResource,
  type Instant,
  type NodeResource,
  resourceKey,
  type ServiceResource,
  type ServiceSpec,
} from '@heptad/core';

/** One version of a service's spec, kept for rollback. */
export interface RevisionRecord {
  /** From 1, rising. */
  readonly number: number;
  readonly templateHash: string;
  readonly spec: ServiceSpec;
  /** When it became the wanted one. */
  readonly at: Instant;
  /** `good` once all its replicas were ready; `failed` once a rollout of it was given up. */
  readonly outcome: 'progressing' | 'good' | 'failed';
  /** State store revision of the record; 0 before it is stored. */
  readonly revision: number;
}

/** Who holds a virtual address. */
export interface AddressClaim {
  readonly address: string;
  readonly namespace: string;
  readonly service: string;
  /** State store revision of the claim; 0 before it is stored. */
  readonly revision: number;
}

/** The cluster at one revision of the state store. */
export interface ClusterState {
  readonly namespace: string;
  readonly nodes: ReadonlyMap<string, NodeResource>;
  readonly services: ReadonlyMap<string, ServiceResource>;
  readonly containers: ReadonlyMap<string, ContainerResource>;
  readonly endpoints: ReadonlyMap<string, EndpointResource>;
  /** Service -> its revisions, oldest first. */
  readonly revisions: ReadonlyMap<string, readonly RevisionRecord[]>;
  /** Virtual address -> its holder, in every namespace. */
  readonly addresses: ReadonlyMap<string, AddressClaim>;
  /**
   * Node -> when *this* controller last saw its heartbeat change, by its own clock: clocks of machines differ, and a
   * controller that was away must not believe all nodes dead.
   */
  readonly heartbeats: ReadonlyMap<string, Instant>;
}

/** A state without anything in it. */
export function emptyState(namespace = 'default'): ClusterState {
  return {
    namespace,
    nodes: new Map(),
    services: new Map(),
    containers: new Map(),
    endpoints: new Map(),
    revisions: new Map(),
    addresses: new Map(),
    heartbeats: new Map(),
  };
}

/** One key that a draft changed. `value` undefined: it is deleted. `revision` is what it was read at, 0 for none. */
export interface DraftWrite {
  readonly key: string;
  readonly value: string | undefined;
  readonly revision: number;
}

type Kinds = {
  Node: NodeResource;
  Service: ServiceResource;
  Container: ContainerResource;
  Endpoint: EndpointResource;
};

/** The key of a revision record. Zero-padded, so that key order is age order. */
export function revisionKey(namespace: string, service: string, number: number): string {
  return `/rollouts/${namespace}/${service}/${String(number).padStart(10, '0')}`;
}

/** The key under which a virtual address is claimed: one holder, because keys are created by compare-and-set. */
export function addressKey(address: string): string {
  return `/addresses/${address}`;
}

/**
 * A cluster state that can be changed. Resources themselves are never mutated: a change replaces the object, so the
 * state the draft was made from stays as it was.
 */
export class Draft implements ClusterState {
  readonly namespace: string;
  readonly nodes: Map<string, NodeResource>;
  readonly services: Map<string, ServiceResource>;
  readonly containers: Map<string, ContainerResource>;
  readonly endpoints: Map<string, EndpointResource>;
  readonly revisions: Map<string, readonly RevisionRecord[]>;
  readonly addresses: Map<string, AddressClaim>;
  readonly heartbeats: ReadonlyMap<string, Instant>;
  #writes = new Map<string, DraftWrite>();
  /** Containers of each service; kept so that a plan over many services is not quadratic. */
  readonly #byService = new Map<string, Set<string>>();

  constructor(base: ClusterState) {
    this.namespace = base.namespace;
    this.nodes = new Map(base.nodes);
    this.services = new Map(base.services);
    this.containers = new Map(base.containers);
    this.endpoints = new Map(base.endpoints);
    this.revisions = new Map(base.revisions);
    this.addresses = new Map(base.addresses);
    this.heartbeats = base.heartbeats;
    for (const container of this.containers.values()) this.#index(container);
  }

  /** The service's containers in name order, so that nothing depends on the order of arrival. */
  containersOf(service: string): ContainerResource[] {
    const names = [...(this.#byService.get(service) ?? [])].sort();
    return names.flatMap((name) => {
      const container = this.containers.get(name);
      return container === undefined ? [] : [container];
    });
  }

  put<K extends keyof Kinds>(kind: K, resource: Kinds[K]): void {
    const key = resourceKey(kind, resource.namespace, resource.name);
    const { revision, ...stored } = resource;
    this.#write(key, JSON.stringify(stored), revision);
    switch (resource.kind) {
      case 'Node':
        this.nodes.set(resource.name, resource);
        break;
      case 'Service':
        this.services.set(resource.name, resource);
        break;
      case 'Container':
        this.containers.set(resource.name, resource);
        this.#index(resource);
        break;
      case 'Endpoint':
        this.endpoints.set(resource.name, resource);
        break;
    }
  }

  delete(kind: keyof Kinds, name: string): void {
    const map: Map<string, Kinds[keyof Kinds]> = {
      Node: this.nodes,
      Service: this.services,
      Container: this.containers,
      Endpoint: this.endpoints,
    }[kind];
    const resource = map.get(name);
    if (resource === undefined) return;
    map.delete(name);
    if (resource.kind === 'Container') this.#byService.get(resource.spec.service)?.delete(name);
    this.#write(resourceKey(kind, resource.namespace, name), undefined, resource.revision);
  }

  putRevision(service: string, record: RevisionRecord): void {
    const others = (this.revisions.get(service) ?? []).filter((other) => other.number !== record.number);
    this.revisions.set(
      service,
      [...others, record].sort((a, b) => a.number - b.number),
    );
    const { revision, ...stored } = record;
    this.#write(revisionKey(this.namespace, service, record.number), JSON.stringify(stored), revision);
  }

  deleteRevision(service: string, number: number): void {
    const records = this.revisions.get(service) ?? [];
    const record = records.find((other) => other.number === number);
    if (record === undefined) return;
    const rest = records.filter((other) => other.number !== number);
    if (rest.length === 0) this.revisions.delete(service);
    else this.revisions.set(service, rest);
    this.#write(revisionKey(this.namespace, service, number), undefined, record.revision);
  }

  putAddress(claim: AddressClaim): void {
    this.addresses.set(claim.address, claim);
    const { namespace, service } = claim;
    this.#write(addressKey(claim.address), JSON.stringify({ namespace, service }), claim.revision);
  }

  deleteAddress(address: string): void {
    const claim = this.addresses.get(address);
    if (claim === undefined) return;
    this.addresses.delete(address);
    this.#write(addressKey(address), undefined, claim.revision);
  }

  /** What changed since the last call. */
  takeWrites(): DraftWrite[] {
    const writes = [...this.#writes.values()];
    this.#writes = new Map();
    return writes;
  }

  #write(key: string, value: string | undefined, revision: number): void {
    this.#writes.set(key, { key, value, revision });
  }

  #index(container: ContainerResource): void {
    const names = this.#byService.get(container.spec.service) ?? new Set<string>();
    names.add(container.name);
    this.#byService.set(container.spec.service, names);
  }
}
