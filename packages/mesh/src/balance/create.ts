// createBalancer: a balancer by its configured name.

import { type Clock, invalidArgument, type Random } from '@heptad/core';
import type { Balancer, BalancerName } from './balancer.ts';
import { LeastConnectionsBalancer } from './least-connections.ts';
import { PeakEwmaBalancer } from './peak-ewma.ts';
import { RoundRobinBalancer } from './round-robin.ts';
import { WeightedBalancer } from './weighted.ts';

const BALANCERS: Record<BalancerName, (options: { clock?: Clock; random?: Random }) => Balancer> = {
  'round-robin': () => new RoundRobinBalancer(),
  weighted: () => new WeightedBalancer(),
  'least-connections': (options) => new LeastConnectionsBalancer(options),
  'p2c-least-connections': (options) => new LeastConnectionsBalancer({ ...options, choices: 2 }),
  'peak-ewma': (options) => new PeakEwmaBalancer(options),
};

/** Whether `name` names a balancer. */
export function isBalancerName(name: string): name is BalancerName {
  return Object.hasOwn(BALANCERS, name);
}

/** A new balancer of that name. Errors: `INVALID_ARGUMENT` naming the known ones. */
export function createBalancer(name: string, options: { clock?: Clock; random?: Random } = {}): Balancer {
  if (!isBalancerName(name)) {
    throw invalidArgument(
      `there is no balancer "${name}"`,
      `use one of ${Object.keys(BALANCERS).join(', ')}`,
    );
  }
  return BALANCERS[name](options);
}
