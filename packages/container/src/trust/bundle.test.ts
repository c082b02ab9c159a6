// Bundles: one that cosign made is opened and verified, and what is none proves nothing.

import { describe, expect, it } from 'vitest';
import { BUNDLE_MANIFEST, COSIGN_BUNDLE, COSIGN_PUBLIC_KEY } from '../../test/cosign-vectors.ts';
import { digestOf } from '../image/digest.ts';
import { isBundleType, openBundle } from './bundle.ts';
import { generateSigningKeys, readPrivateKey, readPublicKey } from './keys.ts';
import { isSignedBy, signPayload } from './signatures.ts';

const bytes = Buffer.from(COSIGN_BUNDLE);

/** The bundle with its statement changed. */
function changed(change: (statement: Record<string, unknown>) => unknown): Buffer {
  const bundle = JSON.parse(COSIGN_BUNDLE);
  const statement = JSON.parse(Buffer.from(bundle.dsseEnvelope.payload, 'base64').toString());
  bundle.dsseEnvelope.payload = Buffer.from(JSON.stringify(change(statement))).toString('base64');
  return Buffer.from(JSON.stringify(bundle));
}

describe('a bundle that cosign made', () => {
  it('is of its key, and about the manifest that was signed', () => {
    const opened = openBundle(bytes);
    expect(opened).toBeDefined();
    if (opened === undefined) return;
    expect(isSignedBy(opened.payload, opened.signature, readPublicKey(COSIGN_PUBLIC_KEY))).toBe(true);
    expect(opened.claims()).toEqual({ digest: digestOf(BUNDLE_MANIFEST), reference: '', annotations: {} });
  });

  it('does not verify when its statement is changed', () => {
    const opened = openBundle(changed((statement) => ({ ...statement, predicate: { more: 1 } })));
    expect(opened && isSignedBy(opened.payload, opened.signature, readPublicKey(COSIGN_PUBLIC_KEY))).toBe(
      false,
    );
  });
});

describe('what is no signature of an image', () => {
  it('a signed statement of another kind, or about several things, is not taken for one', async () => {
    const { privateKey, publicKey } = await generateSigningKeys();
    const forms: readonly ((statement: Record<string, unknown>) => unknown)[] = [
      (statement) => ({ ...statement, predicateType: 'https://cyclonedx.org/bom' }),
      (statement) => ({ ...statement, subject: [] }),
      (statement) => ({ ...statement, subject: [{ digest: { sha256: 'a' } }, { digest: { sha256: 'b' } }] }),
      (statement) => ({ ...statement, _type: 'something' }),
      () => null,
    ];
    for (const form of forms) {
      const opened = openBundle(changed(form));
      const signature = Buffer.from(
        signPayload(opened?.payload ?? bytes, await readPrivateKey(privateKey)),
        'base64',
      );
      // Well signed, and still nothing that lets an image through.
      expect(opened && isSignedBy(opened.payload, signature, readPublicKey(publicKey))).toBe(true);
      expect(() => opened?.claims()).toThrow(expect.objectContaining({ code: 'SIGNATURE_INVALID' }));
    }
  });

  it('a document that is no bundle is not opened', () => {
    for (const text of ['', '{}', '[]', '{"messageSignature":{}}', '{"dsseEnvelope":{"signatures":[]}}'])
      expect(openBundle(Buffer.from(text))).toBeUndefined();
    expect(isBundleType('application/vnd.dev.sigstore.bundle.v0.3+json')).toBe(true);
    expect(isBundleType('application/vnd.cyclonedx+json')).toBe(false);
  });
});
