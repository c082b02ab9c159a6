// What the mesh knows: which endpoints serve a service, and the rules between services.

import type { NetworkPolicySpec, TrafficRuleSpec } from '../resources/network.ts';

/** One place that serves a service. */
export interface ServiceEndpoint {
  readonly id: string;
  readonly address: string;
  /** Port name -> port; the first is the service's default. */
  readonly ports: Readonly<Record<string, number>>;
  readonly zone?: string;
  /** Relative share, default 1; 0 gets nothing. */
  readonly weight: number;
  readonly state: 'ready' | 'draining' | 'unready';
  /** Version of the service it runs, for traffic rules. */
  readonly version?: string;
  readonly identity?: string;
}

/** All endpoints of a service at one moment. */
export interface EndpointSet {
  readonly service: string;
  /** The state store's revision it was read at. */
  readonly version: number;
  readonly endpoints: readonly ServiceEndpoint[];
}

/** Finds services. */
export interface ServiceCatalog {
  /** An empty set, never an error, for a service nobody knows. */
  resolve(service: string): Promise<EndpointSet>;
  /** The present set first, then each change. */
  watch(service: string, signal: AbortSignal): AsyncIterable<EndpointSet>;
}

/** A service as the data plane sees it. */
export interface MeshService {
  readonly name: string;
  readonly virtualAddress?: string;
  readonly ports: readonly {
    readonly name: string;
    readonly port: number;
    readonly protocol: 'TCP' | 'UDP';
    readonly published?: { readonly address: string; readonly port: number };
  }[];
  readonly labels: Readonly<Record<string, string>>;
  /** `http` (per-request balancing, default) or `tcp`. */
  readonly mode: 'http' | 'tcp';
}

/** Everything a data plane needs, immutable, taken whole. */
export interface MeshSnapshot {
  readonly revision: number;
  readonly services: readonly MeshService[];
  readonly endpoints: readonly EndpointSet[];
  readonly policies: readonly { readonly name: string; readonly spec: NetworkPolicySpec }[];
  readonly rules: readonly { readonly name: string; readonly spec: TrafficRuleSpec }[];
  /** Container address -> the workload behind it, so that a data plane knows who is calling. */
  readonly workloads: Readonly<
    Record<string, { readonly service: string; readonly labels: Readonly<Record<string, string>> }>
  >;
}
