// Verifies the signatures of an image of the store: by a known key, about this image, in this repository, not expired.

import type { KeyObject } from 'node:crypto';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { EXPIRES_CLAIM, fullRepository, type SignatureClaims } from './claims.ts';
import { keyFingerprint, readPublicKey } from './keys.ts';
import { type FoundSignature, findSignatures, isSignedBy } from './signatures.ts';

/** What a signature must be to count. */
export interface SignatureRequirements {
  /** Public keys as PEM; a signature by any of them counts. */
  readonly keys: readonly string[];
  /** How many different keys must have signed. Default 1. */
  readonly minimumKeys?: number | undefined;
  /** Annotations that must be signed with just these values. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /**
   * What the signature must say about the repository: `repository` that it is the image's own (default), `any` nothing
   * (cosign itself looks no closer), or a list of repositories, for images that were copied from there.
   */
  readonly identity?: 'repository' | 'any' | readonly string[] | undefined;
}

/** A signature that counts. */
export interface VerifiedSignature extends SignatureClaims {
  /** SHA-256 of the public key. */
  readonly keyFingerprint: string;
}

/** What {@link verifyImage} found. */
export interface VerifiedImage {
  /** What the name leads to. */
  readonly digest: Digest;
  readonly signatures: readonly VerifiedSignature[];
  /** Signatures that do not count, and why. */
  readonly rejected: readonly string[];
}

/**
 * Verifies an image of the store. A signature of an index counts for each image in it, for it names them by digest.
 * Throws `IMAGE_NOT_TRUSTED` with why each signature does not count, `KEY_INVALID`, `IMAGE_NOT_FOUND`.
 */
export async function verifyImage(
  images: ImageStore,
  reference: string,
  requirements: SignatureRequirements,
): Promise<VerifiedImage> {
  const { target } = await images.target(reference);
  const repository = /^sha256:/.test(reference) ? undefined : reference;
  // A bare digest has no repository to compare with; what the signature says of it cannot be held against it.
  const candidates = await candidatesOf(images, reference, target.digest);
  return await verifyDigests(images, { reference, repository, digests: candidates }, requirements);
}

/** What is to be verified: any of `digests` may have been signed. */
export interface VerificationSubject {
  /** As people know it, for messages. */
  readonly reference: string;
  readonly repository: string | undefined;
  readonly digests: readonly Digest[];
}

/** {@link verifyImage} of digests, before there is a name for them. */
export async function verifyDigests(
  images: ImageStore,
  subject: VerificationSubject,
  requirements: SignatureRequirements,
): Promise<VerifiedImage> {
  const keys = requirements.keys.map(readPublicKey);
  if (keys.length === 0)
    throw new ContainerError('KEY_INVALID', `cannot verify ${subject.reference}: no key was given`);
  const signatures: VerifiedSignature[] = [];
  const rejected: string[] = [];
  for (const digest of subject.digests) {
    for (const found of await findSignatures(images, digest)) {
      const judged = judge(found, digest, subject, keys, requirements, images.clock.now());
      if (typeof judged === 'string')
        rejected.push(`signature ${found.layer.digest.slice(7, 19)}: ${judged}`);
      else signatures.push(judged);
    }
  }
  const signers = new Set(signatures.map((one) => one.keyFingerprint));
  const wanted = requirements.minimumKeys ?? 1;
  const [digest = ''] = subject.digests;
  if (signers.size >= wanted) return { digest, signatures, rejected };
  throw notTrusted(subject.reference, digest, signers.size, wanted, rejected);
}

/** The digests that may have been signed for a name: what it leads to, and this machine's image in an index. */
export async function candidatesOf(images: ImageStore, reference: string, top: Digest): Promise<Digest[]> {
  const { digest } = await images.inspect(reference);
  return [...new Set([top, digest])];
}

/** The signature's claims, or why it does not count. */
function judge(
  found: FoundSignature,
  digest: Digest,
  subject: VerificationSubject,
  keys: readonly KeyObject[],
  requirements: SignatureRequirements,
  now: number,
): VerifiedSignature | string {
  const { payload, signature } = found;
  if (payload === undefined) return 'its payload is missing, damaged or too large';
  const key = keys.find((each) => isSignedBy(payload, signature, each));
  // Nothing in the payload is believed, or even read, before this.
  if (key === undefined) return 'it is not of any of the keys, or the payload was changed';
  let claims: SignatureClaims;
  try {
    claims = found.claims();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (claims.digest !== digest) return `it is of another image, ${claims.digest}`;
  return (
    wrongRepository(claims, subject.repository, requirements.identity ?? 'repository') ??
    wrongAnnotation(claims, requirements.annotations ?? {}) ??
    expired(claims, now) ?? { ...claims, keyFingerprint: keyFingerprint(key) }
  );
}

function wrongRepository(
  { reference }: SignatureClaims,
  repository: string | undefined,
  identity: 'repository' | 'any' | readonly string[],
): string | undefined {
  if (identity === 'any') return undefined;
  const accepted = identity === 'repository' ? (repository === undefined ? [] : [repository]) : identity;
  if (identity === 'repository' && repository === undefined) return undefined;
  if (reference === '')
    return 'it does not say for which repository, as those of cosign 3 do not (identity "any" takes them)';
  const signed = fullRepository(reference);
  if (accepted.some((each) => fullRepository(each) === signed)) return undefined;
  return `it is for another repository, ${reference}`;
}

function wrongAnnotation(
  { annotations }: SignatureClaims,
  wanted: Readonly<Record<string, string>>,
): string | undefined {
  for (const [key, value] of Object.entries(wanted))
    if (annotations[key] !== value) return `its annotation ${key} is not ${JSON.stringify(value)}`;
  return undefined;
}

function expired({ annotations }: SignatureClaims, now: number): string | undefined {
  const expires = annotations[EXPIRES_CLAIM];
  if (expires === undefined) return undefined;
  const at = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
  // A time that cannot be read must not make a signature live for ever.
  if (Number.isNaN(at)) return `when it expires cannot be read: ${JSON.stringify(expires)}`;
  return at <= now ? `it expired at ${new Date(at).toISOString()}` : undefined;
}

function notTrusted(
  reference: string,
  digest: Digest,
  count: number,
  wanted: number,
  rejected: readonly string[],
): ContainerError {
  const what =
    rejected.length === 0 && count === 0
      ? 'it has no signature'
      : `${count} of ${wanted} needed keys signed it${rejected.length === 0 ? '' : `; ${rejected.join('; ')}`}`;
  return new ContainerError(
    'IMAGE_NOT_TRUSTED',
    `image ${reference} (${digest.slice(0, 19)}) is not trusted: ${what}`,
    {
      hint: 'sign it ("heptad image sign") with a key that is trusted, or pull it with its signatures; "heptad image verify" shows each',
      details: { reference, digest, rejected: [...rejected] },
    },
  );
}
