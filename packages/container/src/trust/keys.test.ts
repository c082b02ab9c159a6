// Keys: cosign's own files are read, ours are in its format, and what is no such key is refused.

import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { COSIGN_KEY, COSIGN_PASSWORD, COSIGN_PUBLIC_KEY } from '../../test/cosign-vectors.ts';
import { decryptKey, encryptKey } from './encrypted-key.ts';
import { generateSigningKeys, keyFingerprint, readPrivateKey, readPublicKey } from './keys.ts';

describe('a key pair that cosign made', () => {
  it('is read with its password, and is a pair', async () => {
    const key = await readPrivateKey(COSIGN_KEY, COSIGN_PASSWORD);
    expect(keyFingerprint(key)).toBe(keyFingerprint(readPublicKey(COSIGN_PUBLIC_KEY)));
  });

  it('is not read with another password', async () => {
    await expect(readPrivateKey(COSIGN_KEY, 'wrong')).rejects.toMatchObject({
      code: 'KEY_INVALID',
      message: expect.stringContaining('password is wrong'),
    });
    await expect(readPrivateKey(COSIGN_KEY)).rejects.toMatchObject({ code: 'KEY_INVALID' });
  });

  it('under its old header is read too', async () => {
    await readPrivateKey(COSIGN_KEY.replaceAll('SIGSTORE', 'COSIGN'), COSIGN_PASSWORD);
  });
});

describe('a key pair of ours', () => {
  it('is encrypted with a password, also with the empty one, and plain without', async () => {
    for (const password of ['correct horse', '']) {
      const { privateKey, publicKey } = await generateSigningKeys({ password });
      expect(privateKey).toMatch(/^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n/);
      expect(keyFingerprint(await readPrivateKey(privateKey, password))).toBe(
        keyFingerprint(readPublicKey(publicKey)),
      );
      await expect(readPrivateKey(privateKey, `${password}x`)).rejects.toMatchObject({ code: 'KEY_INVALID' });
    }
    const plain = await generateSigningKeys();
    expect(plain.privateKey).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    await readPrivateKey(plain.privateKey);
  });
});

describe('what is no key', () => {
  const pem = (json: unknown): string =>
    `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n${Buffer.from(JSON.stringify(json)).toString('base64')}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n`;
  const part = Buffer.alloc(32).toString('base64');
  const whole = {
    kdf: { name: 'scrypt', params: { N: 65536, r: 8, p: 1 }, salt: part },
    cipher: { name: 'nacl/secretbox', nonce: Buffer.alloc(24).toString('base64') },
    ciphertext: part,
  };

  it('is refused, without hours of work for absurd parameters', async () => {
    const bad: readonly string[] = [
      '',
      'not PEM',
      pem({}),
      pem({ ...whole, kdf: { ...whole.kdf, params: { N: 2 ** 30, r: 8, p: 1 } } }),
      pem({ ...whole, kdf: { ...whole.kdf, params: { N: 65536, r: 8, p: 1000 } } }),
      pem({ ...whole, kdf: { ...whole.kdf, name: 'argon2' } }),
      pem({ ...whole, cipher: { ...whole.cipher, nonce: part } }),
      pem({ ...whole, ciphertext: '' }),
      pem(whole),
    ];
    for (const text of bad)
      await expect(readPrivateKey(text, 'x')).rejects.toMatchObject({ code: 'KEY_INVALID' });
  });

  it('is refused when it is of another kind', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const dsaLike = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await expect(readPrivateKey(dsaLike)).rejects.toMatchObject({ code: 'KEY_INVALID' });
    expect(() => readPublicKey(rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString())).toThrow(
      /1024/,
    );
    const { privateKey } = await generateSigningKeys();
    expect(() => readPublicKey(privateKey)).toThrow(/private key/);
    const x25519 = generateKeyPairSync('x25519');
    expect(() => readPublicKey(x25519.publicKey.export({ type: 'spki', format: 'pem' }).toString())).toThrow(
      /x25519/,
    );
  });

  it('what was encrypted comes back', async () => {
    const secret = new Uint8Array([1, 2, 3]);
    expect(await decryptKey(await encryptKey(secret, 'pässword'), 'pässword')).toEqual(secret);
  });
});
