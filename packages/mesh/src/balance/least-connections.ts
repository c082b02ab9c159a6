// LeastConnectionsBalancer: whoever has the least to do, in proportion to its weight.

import { invalidArgument, type Random, systemRandom } from '@heptad/core';
import type { Balancer, BalanceTarget } from './balancer.ts';
import { twoChoices } from './two-choices.ts';

/** How {@link LeastConnectionsBalancer} looks. */
export interface LeastConnectionsOptions {
  readonly random?: Random;
  /**
   * `all` compares every target (exact; best for one balancer), `2` two random ones: "the power of two choices", which
   * does not herd when many balancers decide with stale views. Default `all`.
   */
  readonly choices?: 'all' | 2;
}

/**
 * Picks the lowest `(inFlight + 1) / weight`; ties go round-robin, so that idle targets share alike.
 *
 * Source: Mitzenmacher, The Power of Two Choices (2001); Envoy's least-request.
 *
 * @example
 * ```ts
 * import { LeastConnectionsBalancer } from '@heptad/mesh';
 *
 * const targets = [{ id: 'busy', weight: 1, inFlight: 7 }, { id: 'idle', weight: 1, inFlight: 0 }];
 * console.log(new LeastConnectionsBalancer().pick(targets)?.id); // idle
 * ```
 */
export class LeastConnectionsBalancer implements Balancer {
  readonly name: 'least-connections' | 'p2c-least-connections';
  readonly #random: Random;
  #turn = 0;

  constructor(options: LeastConnectionsOptions = {}) {
    const choices = options.choices ?? 'all';
    if (choices !== 'all' && choices !== 2)
      throw invalidArgument(`choices must be 'all' or 2, got ${choices}`);
    this.name = choices === 'all' ? 'least-connections' : 'p2c-least-connections';
    this.#random = options.random ?? systemRandom;
  }

  pick<T extends BalanceTarget>(targets: readonly T[]): T | undefined {
    if (this.name === 'p2c-least-connections') return twoChoices(targets, this.#random, cost);
    let best: T | undefined;
    let bestIndex = 0;
    for (let step = 0; step < targets.length; step += 1) {
      const index = (this.#turn + step) % targets.length;
      const target = targets[index];
      if (target === undefined || target.weight <= 0) continue;
      if (best === undefined || cost(target) < cost(best)) {
        best = target;
        bestIndex = index;
      }
    }
    if (best !== undefined) this.#turn = (bestIndex + 1) % targets.length;
    return best;
  }
}

function cost(target: BalanceTarget): number {
  return (target.inFlight + 1) / target.weight;
}
