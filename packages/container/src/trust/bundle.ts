// The Sigstore bundles that cosign 3 attaches: an in-toto statement about the image in a DSSE envelope. Read, not written.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { SignatureClaims } from './claims.ts';

/** Artifact types and media types of bundles, up to the version. */
const BUNDLE_TYPE = /^application\/vnd\.dev\.sigstore\.bundle\.v0\.3\+json$/;
/** A bundle of a key has 700 bytes; those with certificates and log entries some 12 KiB. */
export const MAX_BUNDLE_BYTES: number = 1024 * 1024;
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
/**
 * What makes a statement a signature of an image. Bills of materials and provenance come in bundles of the same artifact
 * type, signed by the same keys perhaps, and say nothing about whether the image may run.
 */
const SIGN_PREDICATE = 'https://sigstore.dev/cosign/sign/v1';

const bundleSchema = z.object({
  dsseEnvelope: z.object({
    payload: z.base64(),
    payloadType: z.literal(PAYLOAD_TYPE),
    // DSSE allows several; a bundle has exactly one.
    signatures: z.array(z.object({ sig: z.base64() })).length(1),
  }),
});
const statementSchema = z.object({
  _type: z.enum(['https://in-toto.io/Statement/v0.1', 'https://in-toto.io/Statement/v1']),
  predicateType: z.string(),
  subject: z
    .array(
      z.object({
        digest: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.unknown()).nullish(),
      }),
    )
    .length(1),
});

/** What is signed in a bundle, its signature, and how to read it once that is verified. */
export interface BundleSignature {
  /** The bytes that were signed: the statement in DSSE's encoding. */
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  readonly claims: () => SignatureClaims;
}

/** Whether an artifact or a layer is a bundle. */
export function isBundleType(type: string): boolean {
  return BUNDLE_TYPE.test(type);
}

/** Takes a bundle apart; undefined for what is none, such as one around a bare signature. */
export function openBundle(bytes: Uint8Array): BundleSignature | undefined {
  const parsed = bundleSchema.safeParse(jsonOf(bytes));
  if (!parsed.success) return undefined;
  const { payload, payloadType, signatures } = parsed.data.dsseEnvelope;
  const body = Buffer.from(payload, 'base64');
  return {
    payload: preAuthenticationEncoding(payloadType, body),
    signature: Buffer.from(signatures[0]?.sig ?? '', 'base64'),
    claims: () => claimsOf(body),
  };
}

/** The bytes that DSSE signs. Source: secure-systems-lab/dsse, protocol.md. */
function preAuthenticationEncoding(type: string, body: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.length} `), body]);
}

function claimsOf(body: Uint8Array): SignatureClaims {
  const parsed = statementSchema.safeParse(jsonOf(body));
  const [subject] = parsed.data?.subject ?? [];
  if (parsed.data === undefined || subject === undefined) {
    throw new ContainerError(
      'SIGNATURE_INVALID',
      'the signed statement is not one of in-toto about one thing',
    );
  }
  if (parsed.data.predicateType !== SIGN_PREDICATE) {
    throw new ContainerError(
      'SIGNATURE_INVALID',
      `it is no signature of the image, but a statement of type ${parsed.data.predicateType}`,
    );
  }
  return {
    digest: `sha256:${subject.digest.sha256 ?? ''}`,
    // Such a statement names no repository.
    reference: '',
    annotations: subject.annotations ?? {},
  };
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
