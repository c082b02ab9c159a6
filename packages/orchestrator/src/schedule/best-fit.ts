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

/** Why a class of replicas found no node. */
interface Misses {
  readonly code: 'NO_AVAILABLE_NODES' | 'NO_SUITABLE_NODE';
  readonly misses: { node: string; reasons: string[] }[];
}

/**
 * Places replicas by best fit over CPU, memory, storage and network, spreading those of one service.
 *
 * Pure and deterministic: the same input in the same order gives the same result, ties go to the node whose name sorts
 * first. Equal replicas (same service, requests, constraints, ports) are placed together, classes in the order of their
 * first replica: each class scores every node once, and after a placement only the node that changed is scored again.
 * That is O((c·n + p) log n) for n nodes, p replicas and c classes. Plugins therefore must judge a node by the replica's
 * class and that node alone, which the contract says.
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
    const classes = new Map<string, number[]>();
    for (const [index, replica] of pending.entries()) {
      const key = classKey(replica);
      const members = classes.get(key);
      if (members === undefined) classes.set(key, [index]);
      else members.push(index);
    }
    const placed = new Map<number, Placement>();
    for (const members of classes.values()) this.#placeClass(members, pending, nodes, placed);
    return { placements: pending.flatMap((_, index) => placed.get(index) ?? []) };
  }

  #placeClass(
    members: readonly number[],
    pending: readonly Replica[],
    nodes: readonly FillingNode[],
    placed: Map<number, Placement>,
  ): void {
    let heap: CandidateHeap | undefined;
    let misses: Misses | undefined;
    for (const index of members) {
      const replica = pending[index];
      if (replica === undefined) continue;
      heap ??= this.#rank(replica, nodes);
      const best = heap.best();
      const node = best === undefined ? undefined : nodes[best.node];
      if (best === undefined || node === undefined) {
        // Nodes only fill during a round, so the answer is the same for the rest of the class.
        misses ??= this.#explain(replica, nodes);
        placed.set(index, { replica, ...misses });
        continue;
      }
      node.take(replica);
      placed.set(index, { replica, node: node.node.name, score: best.score });
      heap.set(best.node, this.#rate(replica, node));
    }
  }

  /** The feasible nodes for a class of replicas, best first. */
  #rank(sample: Replica, nodes: readonly FillingNode[]): CandidateHeap {
    const heap = new CandidateHeap(nodes.length);
    for (const [index, node] of nodes.entries()) {
      const score = this.#rate(sample, node);
      if (score >= 0) heap.set(index, score);
    }
    return heap;
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

  #explain(replica: Replica, nodes: readonly NodeView[]): Misses {
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
