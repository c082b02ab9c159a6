// Payloads: cosign's are understood, ours are cosign's to the byte, and what is none is refused.

import { describe, expect, it } from 'vitest';
import { COSIGN_PAYLOAD, COSIGN_PUBLIC_KEY, COSIGN_SIGNATURE } from '../../test/cosign-vectors.ts';
import { makePayload, parsePayload } from './claims.ts';
import { generateSigningKeys, readPrivateKey, readPublicKey } from './keys.ts';
import { isSignedBy, signatureTag, signPayload } from './signatures.ts';

const payload = Buffer.from(COSIGN_PAYLOAD);
const signature = Buffer.from(COSIGN_SIGNATURE, 'base64');

describe('a payload that cosign signed', () => {
  it('is verified with its key only, and as it is only', async () => {
    const key = readPublicKey(COSIGN_PUBLIC_KEY);
    expect(isSignedBy(payload, signature, key)).toBe(true);
    const other = readPublicKey((await generateSigningKeys()).publicKey);
    expect(isSignedBy(payload, signature, other)).toBe(false);
    for (let index = 0; index < payload.length; index += 1) {
      const changed = Buffer.from(payload);
      changed.writeUInt8(changed.readUInt8(index) ^ 1, index);
      expect(isSignedBy(changed, signature, key)).toBe(false);
    }
    for (const bad of [Buffer.alloc(0), Buffer.alloc(70, 0xff), signature.subarray(0, -1)])
      expect(isSignedBy(payload, bad, key)).toBe(false);
  });

  it('is the bytes that we would have signed', () => {
    expect(Buffer.from(makePayload(parsePayload(payload))).toString()).toBe(COSIGN_PAYLOAD);
  });
});

describe('a payload', () => {
  it('without annotations has null for them, as in Go', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const text = Buffer.from(makePayload({ digest, reference: 'r/a', annotations: {} })).toString();
    expect(text).toMatch(/"optional":null\}$/);
    expect(parsePayload(Buffer.from(text)).annotations).toEqual({});
  });

  it('of another type, or of none, is refused', () => {
    const bad = ['', '[]', '{}', COSIGN_PAYLOAD.replace('cosign container', 'atomic container'), '\xff'];
    for (const text of bad)
      expect(() => parsePayload(Buffer.from(text, 'latin1'))).toThrow(
        expect.objectContaining({ code: 'SIGNATURE_INVALID' }),
      );
  });
});

it('what we sign, we verify', async () => {
  const { privateKey, publicKey } = await generateSigningKeys();
  const signed = Buffer.from(signPayload(payload, await readPrivateKey(privateKey)), 'base64');
  expect(isSignedBy(payload, signed, readPublicKey(publicKey))).toBe(true);
});

it('the tag of signatures is made of the digest', () => {
  expect(signatureTag('sha256:97fc')).toBe('sha256-97fc.sig');
});
