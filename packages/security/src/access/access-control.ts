// AccessControl: who may do what, decided from one table; what no row allows is denied.

import type { Authorizer, Decision, Principal } from '@heptad/core';
import { SecurityError } from '../errors.ts';
import { ACCESS_MATRIX, type AccessRule, ROLE_INCLUDES } from './matrix.ts';

const AUDIT_ORDER = ['NONE', 'LOW', 'MEDIUM', 'HIGH'] as const;
/** A refusal is always worth a line in the audit log, whatever was asked for. */
const REFUSAL_AUDIT_LEVEL = 'MEDIUM';

/** Options of {@link AccessControl}. */
export interface AccessControlOptions {
  /** Default {@link ACCESS_MATRIX}. */
  readonly rules?: readonly AccessRule[];
  /** Which roles a role includes. Default {@link ROLE_INCLUDES}. */
  readonly roles?: Readonly<Record<string, readonly string[]>>;
}

/**
 * Role-based access with default deny.
 *
 * A request is allowed when a rule of one of the principal's roles (or of a role these include) names the resource and
 * the action, no `deny` rule does, and, where the principal carries scopes, one of them covers it as well. `because`
 * holds the ids of the rules that made the decision.
 *
 * @example
 * ```ts
 * import { AccessControl } from '@heptad/security';
 *
 * const access = new AccessControl();
 * const ada = { id: 'ada', type: 'user', roles: ['operator'] } as const;
 * console.log(access.decide(ada, 'write', 'services/web').allowed); // true
 * console.log(access.decide(ada, 'write', 'security/users').because); // []
 * ```
 */
export class AccessControl implements Authorizer {
  readonly #rules: readonly AccessRule[];
  readonly #includes: Readonly<Record<string, readonly string[]>>;

  /** `INVALID_ARGUMENT` for two rules of one id or a rule without actions. */
  constructor(options: AccessControlOptions = {}) {
    this.#rules = options.rules ?? ACCESS_MATRIX;
    this.#includes = options.roles ?? ROLE_INCLUDES;
    const ids = new Set<string>();
    for (const rule of this.#rules) {
      if (ids.has(rule.id) || rule.actions.length === 0 || rule.resource === '') {
        throw new SecurityError(
          'INVALID_ARGUMENT',
          `cannot use access rule "${rule.id}": its id is taken or it is empty`,
        );
      }
      ids.add(rule.id);
    }
  }

  /** The rules in force, for showing. */
  get rules(): readonly AccessRule[] {
    return this.#rules;
  }

  /**
   * Decides. Total: unknown roles, resources and actions are denied.
   *
   * @param action `read`, `write` or `execute`
   * @param resource `services`, `services/web`, `storage/photos/cat.png`: the first parts are matched
   * @param context `owner`: the id of the principal the resource belongs to, for rules about one's own things
   */
  decide(
    principal: Principal,
    action: string,
    resource: string,
    context: Readonly<Record<string, unknown>> = {},
  ): Decision {
    const roles = this.#rolesOf(principal);
    const about = this.#rules.filter((rule) => covers(rule.resource, resource));
    const matching = about.filter(
      (rule) =>
        (rule.role === '*' || roles.has(rule.role)) &&
        rule.actions.some((allowed) => allowed === action) &&
        (rule.own !== true || context.owner === principal.id),
    );
    const denying = matching.filter((rule) => rule.effect === 'deny');
    const allowing = matching.filter((rule) => rule.effect !== 'deny');
    if (denying.length > 0) return denied(denying, about);
    if (allowing.length === 0) return denied([], about);
    if (!scopesCover(principal, action, resource)) {
      return {
        ...denied([], about),
        because: [`scope: the credential does not cover ${resource}:${action}`],
      };
    }
    return { allowed: true, because: allowing.map((rule) => rule.id), auditLevel: highest(allowing, 'NONE') };
  }

  #rolesOf(principal: Principal): Set<string> {
    const roles = new Set<string>();
    const pending = [...principal.roles];
    for (let role = pending.pop(); role !== undefined; role = pending.pop()) {
      if (roles.has(role)) continue;
      roles.add(role);
      if (Object.hasOwn(this.#includes, role)) pending.push(...(this.#includes[role] ?? []));
    }
    return roles;
  }
}

function denied(rules: readonly AccessRule[], about: readonly AccessRule[]): Decision {
  return {
    allowed: false,
    because: rules.map((rule) => rule.id),
    auditLevel: highest(about, REFUSAL_AUDIT_LEVEL),
  };
}

/** `services` covers `services` and `services/web`, not `services-internal`. */
function covers(pattern: string, resource: string): boolean {
  return resource === pattern || resource.startsWith(`${pattern}/`);
}

/**
 * Scopes (`attributes.scopes`, space-separated `resource:action`) narrow what a credential may do, never widen it. No
 * such attribute: no narrowing; an empty one: nothing is allowed.
 */
function scopesCover(principal: Principal, action: string, resource: string): boolean {
  const scopes = principal.attributes?.scopes;
  if (scopes === undefined) return true;
  return scopes.split(' ').some((scope) => {
    const colon = scope.lastIndexOf(':');
    return colon > 0 && covers(scope.slice(0, colon), resource) && scope.slice(colon + 1) === action;
  });
}

function highest(rules: readonly AccessRule[], least: Decision['auditLevel']): Decision['auditLevel'] {
  const level = Math.max(
    AUDIT_ORDER.indexOf(least),
    ...rules.map((rule) => AUDIT_ORDER.indexOf(rule.auditLevel)),
  );
  return AUDIT_ORDER[level] ?? 'HIGH';
}
