// Scheduler: which node each pending replica goes to, and why the others did not fit.

import type { ResourceQuantities } from '../resources/common.ts';
import type { NodeResource } from '../resources/node.ts';

/** A replica that needs a node. */
export interface Replica {
  readonly id: string;
  readonly service: string;
  readonly namespace: string;
  readonly requests: ResourceQuantities;
  /** Each must hold: `node.labels.zone==eu`, `node.name!=n3` (Compose placement constraints). */
  readonly constraints: readonly string[];
  readonly hostPorts: readonly number[];
}

/** A node as the scheduler sees it. */
export interface NodeView {
  readonly node: NodeResource;
  /** What is placed on it, replicas bound in this same round included. */
  readonly allocated: ResourceQuantities;
  readonly replicasByService: ReadonlyMap<string, number>;
  readonly hostPorts: ReadonlySet<number>;
}

/** All nodes. */
export interface ClusterView {
  readonly nodes: readonly NodeView[];
}

/** Why a node cannot take a replica. */
export interface Unfit {
  readonly reason: string;
}

/** One replica's placement, or why there is none. */
export type Placement =
  | { readonly replica: Replica; readonly node: string; readonly score: number }
  | {
      readonly replica: Replica;
      readonly code: 'NO_AVAILABLE_NODES' | 'NO_SUITABLE_NODE';
      readonly misses: readonly { readonly node: string; readonly reasons: readonly string[] }[];
    };

/** Every replica has exactly one placement, in the order given. */
export interface PlacementResult {
  readonly placements: readonly Placement[];
}

/** Pure and deterministic. */
export interface Scheduler {
  place(pending: readonly Replica[], cluster: ClusterView): PlacementResult;
}

/** Whether a node can take a replica at all. */
export interface FilterPlugin {
  readonly name: string;
  filter(replica: Replica, node: NodeView): true | Unfit;
}

/** How good a node is for a replica, 0..1. */
export interface ScorePlugin {
  readonly name: string;
  readonly weight: number;
  score(replica: Replica, node: NodeView): number;
}
