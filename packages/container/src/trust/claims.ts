// What a signature says: the simple signing payload that names an image, made and read as cosign does.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';

/** `critical.type` of cosign's payloads. */
const SIGNATURE_TYPE = 'cosign container image signature';
/** Media type of such a payload. */
export const PAYLOAD_MEDIA_TYPE = 'application/vnd.dev.cosign.simplesigning.v1+json';
/** A payload has some 250 bytes; with annotations a few KiB. */
export const MAX_PAYLOAD_BYTES: number = 256 * 1024;
/** The claim after whose time (ISO 8601) a signature counts no more. It is signed like the others. */
export const EXPIRES_CLAIM = 'expires';

/** What a verified payload says. */
export interface SignatureClaims {
  /** The manifest or index that was signed. */
  readonly digest: Digest;
  /** The repository it was signed in, as the signer named it. */
  readonly reference: string;
  /** What else the signer says: cosign's annotations. */
  readonly annotations: Readonly<Record<string, unknown>>;
}

// Go's JSON takes keys in any case, and the format's first description wrote this one with a capital.
const image = z.union([
  z.object({ 'docker-manifest-digest': z.string() }).transform((it) => it['docker-manifest-digest']),
  z.object({ 'Docker-manifest-digest': z.string() }).transform((it) => it['Docker-manifest-digest']),
]);
const schema = z.object({
  critical: z.object({
    identity: z.object({ 'docker-reference': z.string() }),
    image,
    type: z.literal(SIGNATURE_TYPE),
  }),
  optional: z.record(z.string(), z.unknown()).nullish(),
});

/** The bytes to sign. */
export function makePayload(claims: SignatureClaims): Uint8Array {
  const { digest, reference, annotations } = claims;
  // The keys' order and the null are those of cosign; a verifier hashes the bytes as they are.
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': reference },
        image: { 'docker-manifest-digest': digest },
        type: SIGNATURE_TYPE,
      },
      optional: Object.keys(annotations).length === 0 ? null : annotations,
    }),
  );
}

/** Reads a payload. Only of bytes whose signature was verified is the result worth anything. Throws `SIGNATURE_INVALID`. */
export function parsePayload(bytes: Uint8Array): SignatureClaims {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ContainerError('SIGNATURE_INVALID', 'the signed payload is not JSON', { cause });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw new ContainerError(
      'SIGNATURE_INVALID',
      `the signed payload is not that of an image: ${z.prettifyError(parsed.error)}`,
    );
  }
  const { critical, optional } = parsed.data;
  return {
    digest: critical.image,
    reference: critical.identity['docker-reference'],
    annotations: optional ?? {},
  };
}

/**
 * The repository of a name in full: `alpine` is `docker.io/library/alpine`. Tag and digest are dropped, and Docker Hub's
 * other names become the one.
 */
export function fullRepository(reference: string): string {
  const named = reference.replace(/@.*$/, '');
  const slash = named.lastIndexOf('/');
  const colon = named.lastIndexOf(':');
  const repository = colon > slash ? named.slice(0, colon) : named;
  const [first = '', ...rest] = repository.split('/');
  const hasHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  const host = hasHost ? first.toLowerCase() : 'docker.io';
  const path = hasHost ? rest.join('/') : repository;
  if (host !== 'docker.io' && host !== 'index.docker.io' && host !== 'registry-1.docker.io')
    return `${host}/${path}`;
  return `docker.io/${path.includes('/') ? path : `library/${path}`}`;
}
