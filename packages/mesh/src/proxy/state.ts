// ProxyState: the snapshot in force and everything derived from it, swapped as one.

import type { MeshService, MeshSnapshot } from '@heptad/core';
import { normalAddress } from '../policy/cidr.ts';
import { evaluatePolicy, type PolicyDecision, type PolicyParty } from '../policy/network-policy.ts';
import type { ProxyContext } from './context.ts';
import { ServiceCluster } from './service-cluster.ts';

const EMPTY: MeshSnapshot = {
  revision: 0,
  services: [],
  endpoints: [],
  policies: [],
  rules: [],
  workloads: {},
};

/** What the forwarding path asks: services, clusters, callers, policy. */
export class ProxyState {
  #snapshot: MeshSnapshot = EMPTY;
  #services = new Map<string, MeshService>();
  #rules = new Map<string, MeshSnapshot['rules']>();
  readonly #clusters = new Map<string, ServiceCluster>();

  get snapshot(): MeshSnapshot {
    return this.#snapshot;
  }

  get clusters(): ReadonlyMap<string, ServiceCluster> {
    return this.#clusters;
  }

  /** Takes a snapshot whole. Synchronous: no request ever sees half of it. */
  apply(snapshot: MeshSnapshot, context: ProxyContext): void {
    this.#snapshot = snapshot;
    this.#services = new Map(snapshot.services.map((service) => [service.name, service]));
    this.#rules = groupRules(snapshot.rules);
    const sets = new Map(snapshot.endpoints.map((set) => [set.service, set]));
    for (const [name, cluster] of this.#clusters) {
      if (this.#services.has(name)) continue;
      this.#clusters.delete(name);
      cluster.close();
    }
    for (const service of snapshot.services) {
      let cluster = this.#clusters.get(service.name);
      if (cluster === undefined) {
        cluster = new ServiceCluster(service, context);
        this.#clusters.set(service.name, cluster);
      }
      cluster.update(service, sets.get(service.name));
    }
  }

  /** The service of that name in the snapshot in force. */
  service(name: string): MeshService | undefined {
    return this.#services.get(name);
  }

  /** Traffic rules whose target is that service. */
  rulesOf(service: string): MeshSnapshot['rules'] {
    return this.#rules.get(service) ?? NO_RULES;
  }

  /** Who is behind a source address. */
  caller(address: string): PolicyParty {
    const normal = normalAddress(address);
    const workload = Object.hasOwn(this.#snapshot.workloads, normal)
      ? this.#snapshot.workloads[normal]
      : undefined;
    return workload === undefined ? { address: normal } : { ...workload, address: normal };
  }

  /** Whether `caller` may reach a service's port under the snapshot in force. */
  decide(caller: PolicyParty, service: string, port: number): PolicyDecision {
    const address = this.#services.get(service)?.virtualAddress;
    const destination = address === undefined ? { service } : { service, address };
    return evaluatePolicy(this.#snapshot, caller, destination, port);
  }
}

const NO_RULES: MeshSnapshot['rules'] = [];

function groupRules(rules: MeshSnapshot['rules']): Map<string, MeshSnapshot['rules']> {
  const groups = new Map<string, MeshSnapshot['rules'][number][]>();
  for (const rule of rules) {
    const group = groups.get(rule.spec.target.service) ?? [];
    group.push(rule);
    groups.set(rule.spec.target.service, group);
  }
  return groups;
}
