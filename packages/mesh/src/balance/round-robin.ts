// RoundRobinBalancer: everybody in turn.

import type { Balancer, BalanceTarget } from './balancer.ts';

/**
 * Gives each target the same share, in order; weights other than 0 are ignored.
 *
 * @example
 * ```ts
 * import { RoundRobinBalancer } from '@heptad/mesh';
 *
 * const balancer = new RoundRobinBalancer();
 * const targets = [{ id: 'a', weight: 1, inFlight: 0 }, { id: 'b', weight: 1, inFlight: 0 }];
 * console.log(balancer.pick(targets)?.id, balancer.pick(targets)?.id); // a b
 * ```
 */
export class RoundRobinBalancer implements Balancer {
  readonly name = 'round-robin';
  #turn = 0;

  pick<T extends BalanceTarget>(targets: readonly T[]): T | undefined {
    for (let step = 0; step < targets.length; step += 1) {
      const target = targets[(this.#turn + step) % targets.length];
      if (target === undefined || target.weight <= 0) continue;
      this.#turn = (this.#turn + step + 1) % targets.length;
      return target;
    }
    return undefined;
  }
}
