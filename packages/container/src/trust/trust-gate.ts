// The gate that images pass before they are pulled and run: reads the engine's policy and holds images against it.

import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import { isDigest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { decideTrust, parseTrustPolicy, type TrustDecision, type TrustPolicy } from './policy.ts';
import { candidatesOf, type VerifiedImage, verifyDigests } from './verify-image.ts';

/** A policy of a few hundred rules has some 100 KiB. */
const MAX_POLICY_BYTES = 4 * 1024 * 1024;
const ACCEPT_ALL: TrustPolicy = { version: 1 };

/** What became of an image at the gate. */
export interface TrustVerdict {
  readonly decision: TrustDecision;
  /** The signatures that let it through; absent where none were needed. */
  readonly verified?: VerifiedImage;
}

/** The trust of one image store. */
export class TrustGate {
  /** Where the policy is, unless one was given: `trust.json` in the store's home. */
  readonly path: string;
  private readonly given: TrustPolicy | undefined;

  /** `given` takes the place of the file. Throws `TRUST_POLICY_INVALID`. */
  constructor(home: string, given?: TrustPolicy) {
    this.path = join(home, 'trust.json');
    this.given = given === undefined ? undefined : parseTrustPolicy(given);
  }

  /** The policy as it is now; accepts everything when there is none. Throws `TRUST_POLICY_INVALID`. */
  async policy(): Promise<TrustPolicy> {
    if (this.given !== undefined) return this.given;
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') return ACCEPT_ALL;
      // A policy that is there and cannot be read must not become none.
      throw new ContainerError('TRUST_POLICY_INVALID', `cannot read the trust policy ${this.path}`, {
        cause,
      });
    }
    if (text.length > MAX_POLICY_BYTES)
      throw new ContainerError('TRUST_POLICY_INVALID', `the trust policy ${this.path} has more than 4 MiB`);
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw new ContainerError('TRUST_POLICY_INVALID', `the trust policy ${this.path} is not JSON`, {
        cause,
      });
    }
    return parseTrustPolicy(json, this.path);
  }

  /** What the policy demands of a name, before anything of it is here. Throws `IMAGE_NOT_TRUSTED` when that is deny. */
  async decide(reference: string): Promise<TrustDecision> {
    const decision = decideTrust(await this.policy(), reference);
    if (decision.requirement.action !== 'deny') return decision;
    const { reason } = decision.requirement;
    const where = decision.prefix === undefined ? 'its default' : `its rule for ${decision.prefix}`;
    throw new ContainerError(
      'IMAGE_NOT_TRUSTED',
      `image ${reference} is refused: the trust policy denies it by ${where}${reason === undefined ? '' : ` (${reason})`}`,
      {
        hint: 'use an image of a registry that the policy accepts, or have the policy changed',
        details: { reference, prefix: decision.prefix },
      },
    );
  }

  /** Holds what a name will lead to against the policy, with the signatures in the store. Throws `IMAGE_NOT_TRUSTED`. */
  async checkDigests(
    images: ImageStore,
    reference: string,
    digests: readonly Digest[],
  ): Promise<TrustVerdict> {
    const decision = await this.decide(reference);
    const { requirement } = decision;
    if (requirement.action !== 'require-signature') return { decision };
    const keys = await Promise.all(requirement.keys.map((key) => this.readKey(key)));
    const subject = { reference, repository: reference, digests };
    return { decision, verified: await verifyDigests(images, subject, { ...requirement, keys }) };
  }

  /**
   * Holds an image of the store against the policy. An image by its digest alone must pass under one of its names, or,
   * if it has none, under the policy's default. Throws `IMAGE_NOT_TRUSTED`, `IMAGE_NOT_FOUND`, `KEY_INVALID`.
   */
  async check(images: ImageStore, reference: string): Promise<TrustVerdict> {
    const policy = await this.policy();
    const isOpen = (policy.rules ?? []).length === 0 && (policy.default?.action ?? 'accept') === 'accept';
    // Without rules there is nothing to look up.
    if (isOpen) return { decision: { requirement: { action: 'accept' }, prefix: undefined } };
    if (!isDigest(reference)) await this.decide(reference);
    const { target } = await images.target(reference);
    const digests = await candidatesOf(images, reference, target.digest);
    if (!isDigest(reference)) return await this.checkDigests(images, reference, digests);
    const names = (await images.allTags())
      .filter((tag) => digests.includes(tag.target.digest))
      .map(({ name }) => name);
    let refusal: unknown;
    for (const name of names) {
      try {
        return await this.checkDigests(images, name, digests);
      } catch (error) {
        refusal = error;
      }
    }
    if (refusal !== undefined) throw refusal;
    // No rule can fit it: rules are about repositories.
    return await new TrustGate(dirname(this.path), { ...policy, rules: [] }).checkDigests(
      images,
      reference,
      digests,
    );
  }

  private async readKey(key: string): Promise<string> {
    if (key.includes('-----BEGIN')) return key;
    const path = isAbsolute(key) ? key : join(dirname(this.path), key);
    try {
      return await readFile(path, 'utf8');
    } catch (cause) {
      throw new ContainerError('KEY_INVALID', `cannot read the public key ${path} of the trust policy`, {
        cause,
        hint: 'nothing that needs this key is pulled or run without it',
      });
    }
  }
}
