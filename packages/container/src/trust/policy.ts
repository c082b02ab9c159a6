// Which images may be pulled and run: by registry prefix, accept, require a signature, or deny. Pure.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { fullRepository } from './claims.ts';

/** What a rule demands of an image. */
export type TrustRequirement =
  | { readonly action: 'accept' }
  | { readonly action: 'deny'; readonly reason?: string | undefined }
  | {
      readonly action: 'require-signature';
      /** Public keys: PEM texts, or paths of PEM files, absolute or beside the policy's file. */
      readonly keys: readonly string[];
      /** How many different keys must have signed. Default 1. */
      readonly minimumKeys?: number | undefined;
      /** Annotations that must be signed with just these values. */
      readonly annotations?: Readonly<Record<string, string>> | undefined;
      /** See `identity` of {@link SignatureRequirements}. Default `repository`. */
      readonly identity?: 'repository' | 'any' | readonly string[] | undefined;
    };

/** A requirement for all repositories below a prefix. */
export type TrustRule = TrustRequirement & {
  /** A registry, or a registry with the beginning of a path: `registry.example`, `registry.example/team`, `docker.io/library`. */
  readonly prefix: string;
};

/** A trust policy. Of the rules that fit an image, that with the longest prefix counts. */
export interface TrustPolicy {
  readonly version: 1;
  /** For images that no rule fits. Default accept. */
  readonly default?: TrustRequirement | undefined;
  readonly rules?: readonly TrustRule[] | undefined;
}

/** What decides about one image, and where that comes from. */
export interface TrustDecision {
  readonly requirement: TrustRequirement;
  /** The rule's prefix; undefined for the default. */
  readonly prefix: string | undefined;
}

const requirements = [
  { action: z.literal('accept') },
  { action: z.literal('deny'), reason: z.string().optional() },
  {
    action: z.literal('require-signature'),
    keys: z.array(z.string().min(1)).min(1).max(64),
    minimumKeys: z.number().int().min(1).max(64).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
    identity: z.union([z.literal('repository'), z.literal('any'), z.array(z.string()).min(1)]).optional(),
  },
] as const;
const requirement = z.discriminatedUnion('action', [
  z.strictObject(requirements[0]),
  z.strictObject(requirements[1]),
  z.strictObject(requirements[2]),
]);
const prefix = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/, 'not the beginning of an image name');
const rule = z.discriminatedUnion('action', [
  z.strictObject({ ...requirements[0], prefix }),
  z.strictObject({ ...requirements[1], prefix }),
  z.strictObject({ ...requirements[2], prefix }),
]);
// Strict: a misspelt key in a policy must not be a hole in it.
const schema = z.strictObject({
  version: z.literal(1),
  default: requirement.optional(),
  rules: z.array(rule).max(1_000).optional(),
});

/**
 * Checks a policy, read from a file or made by a program. Throws `TRUST_POLICY_INVALID`.
 *
 * @example
 * ```ts
 * import { generateSigningKeys, parseTrustPolicy } from '@heptad/container';
 *
 * const { publicKey } = await generateSigningKeys();
 * const trust = parseTrustPolicy({
 *   version: 1,
 *   default: { action: 'deny' },
 *   rules: [{ prefix: 'registry.example/team', action: 'require-signature', keys: [publicKey] }],
 * });
 * console.log(trust.rules?.length); // ContainerEngine.open({ home, trust }) holds pulls and containers to it
 * ```
 */
export function parseTrustPolicy(json: unknown, where = 'the trust policy'): TrustPolicy {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw new ContainerError(
      'TRUST_POLICY_INVALID',
      `cannot use ${where}: ${z.prettifyError(parsed.error)}`,
      {
        hint: 'nothing is pulled or run under a policy that cannot be understood; see the guide, "Trust"',
      },
    );
  }
  const seen = new Set<string>();
  for (const { prefix: each } of parsed.data.rules ?? []) {
    const clean = cleanPrefix(each);
    if (seen.has(clean)) {
      throw new ContainerError('TRUST_POLICY_INVALID', `cannot use ${where}: two rules are for ${clean}`, {
        hint: 'make them one; which of the two counts must not be a guess',
      });
    }
    seen.add(clean);
  }
  const short = [parsed.data.default, ...(parsed.data.rules ?? [])].find(
    (each) => each?.action === 'require-signature' && (each.minimumKeys ?? 1) > each.keys.length,
  );
  if (short === undefined) return parsed.data;
  throw new ContainerError('TRUST_POLICY_INVALID', `cannot use ${where}: a rule needs more keys than it has`);
}

/** What a policy demands of an image. */
export function decideTrust(policy: TrustPolicy, reference: string): TrustDecision {
  const written = reference.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  const full = fullRepository(reference);
  let best: { rule: TrustRule; length: number } | undefined;
  for (const each of policy.rules ?? []) {
    const clean = cleanPrefix(each.prefix);
    // A name without a host is one of Docker Hub's; a rule may be for either form, measured in the full one.
    const length = isBelow(full, clean)
      ? clean.length
      : isBelow(written, clean)
        ? clean.length + full.length - written.length
        : 0;
    if (length > (best?.length ?? 0)) best = { rule: each, length };
  }
  if (best === undefined) return { requirement: policy.default ?? { action: 'accept' }, prefix: undefined };
  return { requirement: best.rule, prefix: best.rule.prefix };
}

/** Without a last slash, and with its host in lower case: hosts have no case, paths do. */
function cleanPrefix(prefix: string): string {
  return prefix.replace(/\/+$/, '').replace(/^[^/]*[.:][^/]*/, (host) => host.toLowerCase());
}

/** At the boundary of a part of the path only: `registry.example/team` is not above `registry.example/team2`. */
function isBelow(repository: string, above: string): boolean {
  return repository === above || repository.startsWith(`${above}/`);
}
