// BestFitScheduler: filters, scores and binds replicas one by one, without looking at every node for each of them.

import type {
  ClusterView,
  FilterPlugin,
  NodeView,
  Placement,
  PlacementResult,
  Replica,
  ResourceQuantities,
  Scheduler,
  ScorePlugin,
} from '@heptad/core';
import { CandidateHeap } from './candidates.ts';
import { AVAILABILITY_FILTER, defaultFilters } from './filters.ts';
import { addQuantities } from './quantities.ts';
import { defaultScores } from './scores.ts';

/** Options of {@link BestFitScheduler}. */
export interface BestFitSchedulerOptions {
  /** All must pass. Default: ready, resources, constraints, host ports. */
  readonly filters?: readonly FilterPlugin[];
  /** Weighted sum, divided by the sum of weights. Default: best fit (1) and spread (2). */
  readonly scores?: readonly ScorePlugin[];
}

/** A node that fills as the round goes on. */
class FillingNode implements NodeView {
  readonly node: NodeView['node'];
  allocated: ResourceQuantities;
  readonly replicasByService: Map<string, number>;
  readonly hostPorts: Set<number>;

  constructor(view: NodeView) {
    this.node = view.node;
    this.allocated = view.allocated;
    this.replicasByService = new Map(view.replicasByService);
    this.hostPorts = new Set(view.hostPorts);
  }

  take(replica: Replica): void {
    const service = `${replica.namespace}/${replica.service}`;
    this.allocated = addQuantities(this.allocated, replica.requests);
    this.replicasByService.set(service, (this.replicasByService.get(service) ?? 0) + 1);
    for (const port of replica.hostPorts) this.hostPorts.add(port);
  }
}

/** Replicas that every plugin must judge alike, and the nodes that can take them. */
interface ReplicaClass {
  readonly sample: Replica;
  readonly heap: CandidateHeap;
  remaining: number;
  /** Set once no node fits: nodes only fill during a round, so the answer stays. */
  misses?: { code: 'NO_AVAILABLE_NODES' | 'NO_SUITABLE_NODE'; misses: { node: string; reasons: string[] }[] };
}

/**
 * Places replicas by best fit over CPU, memory, storage and network, spreading those of one service.
 *
 * Pure and deterministic: the same input in the same order gives the same result, ties go to the node whose name sorts
 * first. Equal replicas (same service, requests, constraints, ports) are scored once per node, and after each placement
 * only the node that changed is scored again: O((n + p·c) log n) for n nodes, p replicas and c classes in one round.
 * Plugins therefore must judge a node by the replica's class and that node alone, which the contract says.
 *
 * Misses are data in the result (`NO_AVAILABLE_NODES`, `NO_SUITABLE_NODE`, with reasons per node);
 * {@link placementError} turns one into the error to throw.
 *
 * @example
 * ```ts
 * import { BestFitScheduler } from '@heptad/orchestrator';
 *
 * const result = new BestFitScheduler().place(
 *   [{
 *     id: 'web-0', service: 'web', namespace: 'default', constraints: [], hostPorts: [],
 *     requests: { cpuMillis: 100, memoryBytes: 0, storageBytes: 0, networkMbps: 0 },
 *   }],
 *   { nodes: [] },
 * );
 * const [first] = result.placements;
 * if (first === undefined || 'node' in first || first.code !== 'NO_AVAILABLE_NODES') throw new Error('unexpected');
 * ```
 */
export class BestFitScheduler implements Scheduler {
  readonly #filters: readonly FilterPlugin[];
  readonly #scores: readonly ScorePlugin[];
  readonly #totalWeight: number;

  constructor(options: BestFitSchedulerOptions = {}) {
    this.#filters = options.filters ?? defaultFilters();
    this.#scores = options.scores ?? defaultScores;
    this.#totalWeight = Math.max(
      Number.MIN_VALUE,
      this.#scores.reduce((sum, plugin) => sum + plugin.weight, 0),
    );
  }

  /** See {@link Scheduler}. Every replica gets exactly one placement, in the order given. */
  place(pending: readonly Replica[], cluster: ClusterView): PlacementResult {
    const nodes = cluster.nodes.map((view) => new FillingNode(view));
    nodes.sort((a, b) => (a.node.name < b.node.name ? -1 : a.node.name > b.node.name ? 1 : 0));
    const keys = pending.map(classKey);
    const counts = new Map<string, number>();
    for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
    const active = new Map<string, ReplicaClass>();
    const placements = pending.map((replica, index): Placement => {
      const key = keys[index] ?? '';
      let group = active.get(key);
      if (group === undefined) {
        group = this.#open(replica, counts.get(key) ?? 1, nodes);
        active.set(key, group);
      }
      const placement = this.#placeOne(replica, group, nodes, active);
      group.remaining -= 1;
      if (group.remaining === 0) active.delete(key);
      return placement;
    });
    return { placements };
  }

  #open(sample: Replica, remaining: number, nodes: readonly FillingNode[]): ReplicaClass {
    const heap = new CandidateHeap(nodes.length);
    for (const [index, node] of nodes.entries()) {
      const score = this.#rate(sample, node);
      if (score >= 0) heap.set(index, score);
    }
    return { sample, heap, remaining };
  }

  #placeOne(
    replica: Replica,
    group: ReplicaClass,
    nodes: readonly FillingNode[],
    active: ReadonlyMap<string, ReplicaClass>,
  ): Placement {
    const best = group.heap.best();
    const node = best === undefined ? undefined : nodes[best.node];
    if (best === undefined || node === undefined) {
      group.misses ??= this.#explain(replica, nodes);
      return { replica, ...group.misses };
    }
    node.take(replica);
    // Every class that still waits sees the node as it is now; a class that already ran dry cannot gain by it.
    for (const other of active.values()) {
      if (other.misses === undefined) other.heap.set(best.node, this.#rate(other.sample, node));
    }
    return { replica, node: node.node.name, score: best.score };
  }

  /** 0..1, or -1 when a filter refuses. */
  #rate(replica: Replica, node: NodeView): number {
    for (const plugin of this.#filters) {
      if (plugin.filter(replica, node) !== true) return -1;
    }
    let sum = 0;
    for (const plugin of this.#scores) sum += plugin.weight * plugin.score(replica, node);
    return sum / this.#totalWeight;
  }

  #explain(replica: Replica, nodes: readonly NodeView[]): NonNullable<ReplicaClass['misses']> {
    let available = 0;
    const misses = nodes.map((node) => {
      const reasons: string[] = [];
      let unavailable = false;
      for (const plugin of this.#filters) {
        const verdict = plugin.filter(replica, node);
        if (verdict === true) continue;
        reasons.push(verdict.reason);
        unavailable ||= plugin.name === AVAILABILITY_FILTER;
      }
      if (!unavailable) available += 1;
      return { node: node.node.name, reasons };
    });
    return { code: available === 0 ? 'NO_AVAILABLE_NODES' : 'NO_SUITABLE_NODE', misses };
  }
}

function classKey(replica: Replica): string {
  const { cpuMillis, memoryBytes, storageBytes, networkMbps } = replica.requests;
  return JSON.stringify([
    replica.namespace,
    replica.service,
    cpuMillis,
    memoryBytes,
    storageBytes,
    networkMbps,
    replica.constraints,
    replica.hostPorts,
  ]);
}
