// WeightedBalancer: shares in proportion to weights, spread evenly over time.

import type { Balancer, BalanceTarget } from './balancer.ts';

/**
 * Smooth weighted round-robin: every pick raises each target's credit by its weight and charges the winner the sum, so a
 * target of weight 3 among 1s gets a, b, a, c, a rather than a, a, a, b, c.
 *
 * Source: nginx, `ngx_http_upstream_get_peer`.
 *
 * @example
 * ```ts
 * import { WeightedBalancer } from '@heptad/mesh';
 *
 * const targets = [{ id: 'old', weight: 9, inFlight: 0 }, { id: 'new', weight: 1, inFlight: 0 }];
 * console.log(new WeightedBalancer().pick(targets)?.id); // old
 * ```
 */
export class WeightedBalancer implements Balancer {
  readonly name = 'weighted';
  readonly #credit = new WeakMap<BalanceTarget, number>();

  pick<T extends BalanceTarget>(targets: readonly T[]): T | undefined {
    let total = 0;
    let best: T | undefined;
    let bestCredit = Number.NEGATIVE_INFINITY;
    for (const target of targets) {
      if (target.weight <= 0) continue;
      total += target.weight;
      const credit = (this.#credit.get(target) ?? 0) + target.weight;
      this.#credit.set(target, credit);
      if (credit > bestCredit) {
        best = target;
        bestCredit = credit;
      }
    }
    if (best !== undefined) this.#credit.set(best, bestCredit - total);
    return best;
  }
}
