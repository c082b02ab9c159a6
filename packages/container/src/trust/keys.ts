// Keys that sign images: made, read from PEM files, and told apart.

import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { ContainerError } from '../errors.ts';
import { decryptKey, encryptKey, isEncryptedKey } from './encrypted-key.ts';

/** A pair of keys as PEM texts. */
export interface SigningKeys {
  /** Encrypted in cosign's format when a password was given, else PKCS #8. */
  readonly privateKey: string;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: string;
}

/**
 * Makes an ECDSA P-256 key pair, the kind cosign makes. With a `password` (the empty one counts) the private key is
 * encrypted in cosign's format.
 *
 * @example
 * ```ts
 * import { generateSigningKeys } from '@heptad/container';
 *
 * const { publicKey, privateKey } = await generateSigningKeys({ password: 'correct horse' });
 * console.log(publicKey.split('\n')[0], privateKey.split('\n')[0]);
 * ```
 */
export async function generateSigningKeys(options: { password?: string } = {}): Promise<SigningKeys> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const { password } = options;
  return {
    privateKey:
      password === undefined
        ? privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
        : await encryptKey(privateKey.export({ type: 'pkcs8', format: 'der' }), password),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

/** Reads a private key that can sign images. Throws `KEY_INVALID`. */
export async function readPrivateKey(pem: string, password = ''): Promise<KeyObject> {
  const der = isEncryptedKey(pem) ? Buffer.from(await decryptKey(pem, password)) : undefined;
  let key: KeyObject;
  try {
    key =
      der === undefined
        ? createPrivateKey({ key: pem, passphrase: password })
        : createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw new ContainerError(
      'KEY_INVALID',
      'cannot read the private key: it is no PEM of a private key we know',
      {
        cause,
        hint: 'give a key made by "heptad image keygen" or "cosign generate-key-pair", or a PKCS #8 key of ECDSA P-256',
      },
    );
  }
  // The one scheme that every implementation of cosign's specification must support.
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  throw new ContainerError('KEY_INVALID', `cannot sign with a key of type ${describe(key)}`, {
    hint: 'make an ECDSA P-256 key with "heptad image keygen"',
  });
}

/** Reads a public key that signatures are checked against: ECDSA, Ed25519 or RSA. Throws `KEY_INVALID`. */
export function readPublicKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    // A private key where a public one belongs is a mistake to be told, although its public half could be taken.
    if (pem.includes('PRIVATE KEY-----')) throw new Error('it is a private key');
    key = createPublicKey(pem);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ContainerError('KEY_INVALID', `cannot read the public key: ${why}`, {
      cause,
      hint: 'give a PEM file that begins with -----BEGIN PUBLIC KEY-----',
    });
  }
  const isKnown = ['ec', 'ed25519', 'rsa'].includes(key.asymmetricKeyType ?? '');
  const isShort = key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048;
  if (isKnown && !isShort) return key;
  throw new ContainerError('KEY_INVALID', `cannot check signatures with a key of type ${describe(key)}`, {
    hint: 'use ECDSA, Ed25519, or RSA of at least 2048 bits',
  });
}

/** SHA-256 of the public key's DER, in hexadecimal: what tells keys apart and names them to people. */
export function keyFingerprint(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

function describe(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  return [key.asymmetricKeyType, namedCurve, modulusLength].filter((part) => part !== undefined).join(' ');
}
