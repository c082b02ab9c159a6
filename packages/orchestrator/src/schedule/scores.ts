// Score plugins: how good a feasible node is, 0..1.

import type { NodeView, Replica, ScorePlugin } from '@heptad/core';
import { DIMENSIONS } from './quantities.ts';

/**
 * Best fit: the fuller a node would be, the better, so that big replicas find room later.
 * The mean, over the resources the node has, of the share used after placement.
 *
 * Source: the best-fit heuristic of vector bin packing; Kubernetes calls it MostAllocated.
 */
export const bestFitScore: ScorePlugin = {
  name: 'BestFit',
  weight: 1,
  score(replica: Replica, view: NodeView): number {
    let sum = 0;
    let counted = 0;
    for (const dimension of DIMENSIONS) {
      const capacity = view.node.spec.capacity[dimension];
      if (capacity === 0) continue;
      sum += Math.min(1, (view.allocated[dimension] + replica.requests[dimension]) / capacity);
      counted += 1;
    }
    return counted === 0 ? 0 : sum / counted;
  },
};

/**
 * Spread: each replica of the same service already there halves, thirds, ... a node's worth. Weighs double, because
 * surviving the loss of a node is worth more than a tight packing.
 */
export const spreadScore: ScorePlugin = {
  name: 'Spread',
  weight: 2,
  score(replica: Replica, view: NodeView): number {
    return 1 / (1 + (view.replicasByService.get(`${replica.namespace}/${replica.service}`) ?? 0));
  },
};

/** The scores {@link BestFitScheduler} uses unless told otherwise. */
export const defaultScores: readonly ScorePlugin[] = [bestFitScore, spreadScore];
