// route: which version of a service a request goes to, by conditions and weights. Pure but for the draw.

import type { MeshSnapshot, Random, TrafficRuleSpec } from '@heptad/core';

/** What rules look at. */
export interface RoutedRequest {
  /** The service called. */
  readonly service: string;
  /** The calling service, when known. */
  readonly source?: string;
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  /** A header's value by lower-case name; several are joined by `, `. */
  header(name: string): string | undefined;
}

/** Where a request goes. */
export interface RouteDecision {
  /** Version its endpoint must have; `undefined`: any. */
  readonly version: string | undefined;
  /** The rule that took it; `undefined`: none did. */
  readonly rule: string | undefined;
}

type NamedRule = MeshSnapshot['rules'][number];
type Condition = TrafficRuleSpec['conditions'][number];

const ANYWHERE: RouteDecision = { version: undefined, rule: undefined };

/**
 * Applies traffic rules. Of the rules for the service that match source and all conditions, those with more conditions
 * come first (then by name), and each takes its weight in percent of the matching requests until 100 are given away;
 * what is left goes to all endpoints. One number is drawn for all rules, so 30 and 70 make exactly a 30 to 70 split.
 *
 * A condition on a missing header: `Equals` and `Contains` fail, `NotEquals` and `NotContains` hold.
 *
 * @example
 * ```ts
 * import { systemRandom } from '@heptad/core';
 * import { route } from '@heptad/mesh';
 *
 * const canary = { target: { service: 'web', version: '2' }, weight: 100, conditions: [{ on: 'header' as const, header: 'x-canary', operator: 'Equals' as const, value: 'yes' }] };
 * const request = { service: 'web', method: 'GET', path: '/', header: () => 'yes' };
 * console.log(route(request, [{ name: 'canary', spec: canary }], systemRandom).version); // 2
 * ```
 */
export function route(request: RoutedRequest, rules: readonly NamedRule[], random: Random): RouteDecision {
  const matching = rules.filter((rule) => matches(rule.spec, request)).sort(bySpecificity);
  if (matching.length === 0) return ANYWHERE;
  let left = random.next() * 100;
  for (const { name, spec } of matching) {
    if (left < spec.weight) return { version: spec.target.version, rule: name };
    left -= spec.weight;
  }
  return ANYWHERE;
}

function matches(spec: TrafficRuleSpec, request: RoutedRequest): boolean {
  if (spec.target.service !== request.service) return false;
  if (spec.source !== undefined && spec.source.service !== request.source) return false;
  return spec.conditions.every((condition) => holds(condition, request));
}

function bySpecificity(a: NamedRule, b: NamedRule): number {
  return b.spec.conditions.length - a.spec.conditions.length || (a.name < b.name ? -1 : 1);
}

function holds(condition: Condition, request: RoutedRequest): boolean {
  const actual = subject(condition, request);
  switch (condition.operator) {
    case 'Equals':
      return actual === condition.value;
    case 'NotEquals':
      return actual !== condition.value;
    case 'Contains':
      return actual?.includes(condition.value) ?? false;
    case 'NotContains':
      return !(actual?.includes(condition.value) ?? false);
  }
}

function subject(condition: Condition, request: RoutedRequest): string | undefined {
  if (condition.on === 'method') return request.method;
  if (condition.on === 'path') return request.path;
  return condition.header === undefined ? undefined : request.header(condition.header.toLowerCase());
}
