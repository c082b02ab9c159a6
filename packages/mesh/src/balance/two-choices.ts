// Power of two choices: compare two random targets and take the cheaper one.

import type { Random } from '@heptad/core';
import type { BalanceTarget } from './balancer.ts';

/** The cheaper of two distinct random targets with a weight above 0. */
export function twoChoices<T extends BalanceTarget>(
  targets: readonly T[],
  random: Random,
  cost: (target: T) => number,
): T | undefined {
  const usable = targets.every((target) => target.weight > 0)
    ? targets
    : targets.filter((target) => target.weight > 0);
  if (usable.length < 2) return usable[0];
  const first = random.integer(usable.length);
  const second = (first + 1 + random.integer(usable.length - 1)) % usable.length;
  const a = usable[first];
  const b = usable[second];
  if (a === undefined || b === undefined) return a ?? b;
  return cost(b) < cost(a) ? b : a;
}
