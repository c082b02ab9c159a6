// Placement constraints: `node.labels.disk==ssd` as in Compose, parsed once and tested against a node.

import { HeptadError, type NodeResource } from '@heptad/core';

/** One parsed placement constraint. */
export interface PlacementConstraint {
  /** `name`, `id`, `zone`, `runtime`, `isolation`, `address`, or `labels.<key>`. */
  readonly field: string;
  readonly operator: '==' | '!=';
  readonly value: string;
}

const FIELDS = ['name', 'hostname', 'id', 'zone', 'runtime', 'isolation', 'address'] as const;

/**
 * Parses one placement constraint.
 *
 * @param text - `node.<field>==value` or `node.<field>!=value`; fields: `name` (`hostname` is the same), `id`, `zone`,
 * `runtime`, `isolation`, `address` and `labels.<key>`.
 * @throws HeptadError `INVALID_CONSTRAINT` naming the accepted forms.
 *
 * @example
 * ```ts
 * import { parseConstraint } from '@heptad/orchestrator';
 *
 * const constraint = parseConstraint('node.labels.disk==ssd');
 * if (constraint.field !== 'labels.disk') throw new Error('unexpected');
 * ```
 */
export function parseConstraint(text: string): PlacementConstraint {
  const match = /^\s*node\.([A-Za-z0-9_./-]+?)\s*(==|!=)\s*(.*?)\s*$/.exec(text);
  const [, field = '', operator = '', value = ''] = match ?? [];
  const known = FIELDS.some((name) => name === field) || /^labels\..+/.test(field);
  if (match === null || !known || value === '') {
    throw new HeptadError('INVALID_CONSTRAINT', `cannot read the placement constraint "${text}"`, {
      hint: `write node.labels.<key>==<value> or node.<${FIELDS.join('|')}>==<value>; != negates`,
    });
  }
  return { field: field === 'hostname' ? 'name' : field, operator: operator === '!=' ? '!=' : '==', value };
}

/** The value a node has for a constraint's field; undefined when it has none. */
function fieldOf(node: NodeResource, field: string): string | undefined {
  switch (field) {
    case 'name':
      return node.name;
    case 'id':
      return node.id;
    case 'zone':
      return node.spec.zone;
    case 'address':
      return node.spec.address;
    case 'runtime':
      return node.status.runtime?.name;
    case 'isolation':
      return node.status.runtime?.isolation;
    default:
      return node.labels[field.slice('labels.'.length)];
  }
}

/** Why `node` breaks `constraint`, as a sentence without subject; undefined when it holds. */
export function constraintMiss(constraint: PlacementConstraint, node: NodeResource): string | undefined {
  const actual = fieldOf(node, constraint.field);
  // As in Swarm, a node without the field satisfies `!=` and not `==`.
  const others = constraint.field === 'runtime' ? (node.status.runtime?.others ?? []) : [];
  const equal = actual === constraint.value || others.includes(constraint.value);
  if (equal === (constraint.operator === '==')) return undefined;
  const found =
    actual === undefined
      ? `has no node.${constraint.field}`
      : `has node.${constraint.field}=${[actual, ...others].join(',')}`;
  return `${found}, wanted ${constraint.operator} ${constraint.value}`;
}
