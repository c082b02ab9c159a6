// Signatures of an image as cosign stores them: one layer each, in a manifest found by tag or by its subject.

import { type KeyObject, sign, verify } from 'node:crypto';
import { isHeptadError } from '@heptad/core';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, isIndex, MAX_MANIFEST_BYTES, parseManifest } from '../image/manifest.ts';
import type { Referrer } from '../image/referrers.ts';
import { isBundleType, MAX_BUNDLE_BYTES, openBundle } from './bundle.ts';
import { MAX_PAYLOAD_BYTES, PAYLOAD_MEDIA_TYPE, parsePayload, type SignatureClaims } from './claims.ts';

/** Where the signature of a payload is: base64 of its DER, on the layer's descriptor. */
export const SIGNATURE_ANNOTATION = 'dev.cosignproject.cosign/signature';
/** Artifact type of signatures attached as an OCI 1.1 referrer. Source: cosign, internal/pkg/oci/remote. */
export const SIGNATURE_ARTIFACT_TYPE = 'application/vnd.dev.cosign.artifact.sig.v1+json';
/** Each costs a check with each key; nobody signs an image this often. */
const MAX_SIGNATURES = 256;
/** An ECDSA P-521 signature has 139 bytes, RSA 4096 has 512. */
const MAX_SIGNATURE_BYTES = 1024;

/** A signature as it is found, not verified. */
export interface FoundSignature {
  /** `payload`: signed bytes in a layer, the signature on it. `bundle`: both in one document, as cosign 3 writes them. */
  readonly kind: 'payload' | 'bundle';
  /** The layer that holds it. */
  readonly layer: Descriptor;
  /** The bytes that were signed; undefined when the content store has them damaged or not at all. */
  readonly payload: Uint8Array | undefined;
  readonly signature: Uint8Array;
  /** What the payload says: to be believed once the signature is verified. Throws `SIGNATURE_INVALID`. */
  readonly claims: () => SignatureClaims;
  /** The manifest it was found in. */
  readonly manifest: Digest;
}

/** The tag of an image's signatures in its repository. Source: cosign, specs/SIGNATURE_SPEC.md. */
export function signatureTag(digest: Digest): string {
  return `${digest.replace(':', '-')}.sig`;
}

/** Every signature attached to a manifest or index, in whatever layout, each once. */
export async function findSignatures(images: ImageStore, digest: Digest): Promise<FoundSignature[]> {
  const found = new Map<string, FoundSignature>();
  for (const referrer of await images.referrers(digest)) {
    if (!holdsSignatures(referrer, digest) || isIndex(referrer.descriptor)) continue;
    for (const one of await signaturesIn(images, referrer.descriptor.digest)) {
      found.set(`${one.layer.digest} ${Buffer.from(one.signature).toString('base64')}`, one);
      if (found.size >= MAX_SIGNATURES) return [...found.values()];
    }
  }
  return [...found.values()];
}

/** Whether a referrer may hold signatures, by its type or its tag. */
function holdsSignatures(referrer: Referrer, subject: Digest): boolean {
  return referrer.tag === undefined
    ? referrer.artifactType === SIGNATURE_ARTIFACT_TYPE || isBundleType(referrer.artifactType)
    : referrer.tag === signatureTag(subject);
}

async function signaturesIn(images: ImageStore, manifestDigest: Digest): Promise<FoundSignature[]> {
  const bytes = await readIfWhole(images, manifestDigest, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return [];
  const manifest = parseManifest(bytes, `the signatures ${manifestDigest}`);
  const found: FoundSignature[] = [];
  for (const layer of manifest.layers) {
    const place = { layer, manifest: manifestDigest };
    if (isBundleType(layer.mediaType)) {
      const document = await readIfWhole(images, layer.digest, MAX_BUNDLE_BYTES);
      const bundle = document === undefined ? undefined : openBundle(document);
      if (bundle !== undefined) found.push({ ...place, kind: 'bundle', ...bundle });
      continue;
    }
    const text = layer.annotations?.[SIGNATURE_ANNOTATION];
    if (layer.mediaType !== PAYLOAD_MEDIA_TYPE || text === undefined) continue;
    const signature = Buffer.from(text.slice(0, 2 * MAX_SIGNATURE_BYTES), 'base64');
    const payload = await readIfWhole(images, layer.digest, MAX_PAYLOAD_BYTES);
    const claims = (): SignatureClaims => parsePayload(payload ?? Buffer.alloc(0));
    found.push({ ...place, kind: 'payload', payload, signature, claims });
  }
  return found;
}

/** The bytes of a blob that is there, undamaged and not too large; undefined for another, which then proves nothing. */
async function readIfWhole(
  images: ImageStore,
  digest: Digest,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  try {
    return await images.content.readBytes(digest, maxBytes);
  } catch (error) {
    const codes = ['STORE_CORRUPT', 'CONTENT_NOT_FOUND', 'IMAGE_NOT_FOUND', 'LIMIT_EXCEEDED'];
    if (codes.some((code) => isHeptadError(error, code))) return undefined;
    throw error;
  }
}

/** Signs a payload. ECDSA over SHA-256 in DER, as cosign does. */
export function signPayload(payload: Uint8Array, key: KeyObject): string {
  return sign('sha256', payload, key).toString('base64');
}

/** Whether a signature of a payload is of this key. */
export function isSignedBy(payload: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  try {
    // Ed25519 hashes by itself; cosign uses SHA-256 with every other kind.
    return verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', payload, key, signature);
  } catch {
    // OpenSSL throws for bytes that are no signature of the key's kind at all.
    return false;
  }
}
