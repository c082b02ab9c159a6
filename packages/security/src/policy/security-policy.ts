// SecurityPolicy: what a level of protection demands, and whether a request meets it.

import type { SecurityPolicyResource } from '@heptad/core';
import { SecurityError } from '../errors.ts';

/** Weakest first. */
export const SECURITY_LEVELS = ['low', 'medium', 'high', 'critical'] as const;
/** One of {@link SECURITY_LEVELS}. */
export type SecurityLevel = (typeof SECURITY_LEVELS)[number];

/** The protections a policy can demand. */
export type Protection = 'encryption' | 'authentication' | 'authorization' | 'audit' | 'rateLimit';
const PROTECTIONS = ['encryption', 'authentication', 'authorization', 'audit', 'rateLimit'] as const;

/**
 * What each level demands; each includes the one below.
 *
 * - `low`: one knows who asks, and nobody can flood.
 * - `medium`: and they must be allowed to.
 * - `high`: and it is recorded before it is answered.
 * - `critical`: and it travels and rests encrypted.
 */
export const LEVEL_REQUIREMENTS: Readonly<Record<SecurityLevel, readonly Protection[]>> = {
  low: ['authentication', 'rateLimit'],
  medium: ['authentication', 'rateLimit', 'authorization'],
  high: ['authentication', 'rateLimit', 'authorization', 'audit'],
  critical: ['authentication', 'rateLimit', 'authorization', 'audit', 'encryption'],
};

/** Options of {@link createPolicy}. */
export interface PolicyOptions {
  /** Shown in refusals and in the audit log. */
  readonly name: string;
  readonly level: SecurityLevel;
  /** Protections beyond the level's. A policy can be stricter than its level, never laxer. */
  readonly also?: readonly Protection[];
}

/** A named set of demanded protections. Immutable. */
export class SecurityPolicy {
  readonly name: string;
  readonly level: SecurityLevel;
  readonly #requires: ReadonlySet<Protection>;

  /** See {@link createPolicy}. */
  constructor(options: PolicyOptions) {
    if (!SECURITY_LEVELS.includes(options.level)) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot create policy "${options.name}": there is no such level`,
        {
          hint: `use one of ${SECURITY_LEVELS.join(', ')}`,
        },
      );
    }
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(options.name)) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot create policy ${JSON.stringify(options.name)}: bad name`,
        {
          hint: 'use 1 to 63 lower-case letters, digits and inner hyphens',
        },
      );
    }
    this.name = options.name;
    this.level = options.level;
    this.#requires = new Set([...LEVEL_REQUIREMENTS[options.level], ...(options.also ?? [])]);
  }

  /** Whether the policy demands this protection. */
  requires(protection: Protection): boolean {
    return this.#requires.has(protection);
  }

  /** The demanded protections that are not given, in a fixed order. */
  missing(given: Readonly<Partial<Record<Protection, boolean>>>): Protection[] {
    return PROTECTIONS.filter((protection) => this.#requires.has(protection) && given[protection] !== true);
  }

  /** `POLICY_VIOLATION` naming every protection that is demanded and not given. */
  enforce(given: Readonly<Partial<Record<Protection, boolean>>>): void {
    const missing = this.missing(given);
    if (missing.length === 0) return;
    throw new SecurityError(
      'POLICY_VIOLATION',
      `refused by policy "${this.name}" (level ${this.level}): it demands ${missing.join(', ')}`,
      { hint: `provide ${missing.join(' and ')}, or use a policy of a lower level`, details: { missing } },
    );
  }

  /** The policy as the `spec` of a SecurityPolicy resource. */
  toSpec(): SecurityPolicyResource['spec'] {
    return {
      level: this.level,
      encryptionRequired: this.requires('encryption'),
      authenticationRequired: this.requires('authentication'),
      authorizationRequired: this.requires('authorization'),
      auditRequired: this.requires('audit'),
      rateLimitRequired: this.requires('rateLimit'),
    };
  }
}

/**
 * Makes a policy of a level. `INVALID_ARGUMENT` for an unknown level or a bad name.
 *
 * @example
 * ```ts
 * import { createPolicy } from '@heptad/security';
 *
 * const policy = createPolicy({ name: 'payments', level: 'critical' });
 * console.log(policy.missing({ authentication: true, authorization: true })); // [ 'encryption', 'audit', 'rateLimit' ]
 * ```
 */
export function createPolicy(options: PolicyOptions): SecurityPolicy {
  return new SecurityPolicy(options);
}
