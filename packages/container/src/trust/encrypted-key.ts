// cosign's encrypted private keys: PEM around JSON around a NaCl secretbox whose key scrypt makes from a password.

import { randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { xsalsa20poly1305 } from '@noble/ciphers/salsa.js';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';

/** PEM types: today's, and that of cosign before 2.0. */
const PEM_TYPES = ['ENCRYPTED SIGSTORE PRIVATE KEY', 'ENCRYPTED COSIGN PRIVATE KEY'] as const;
const KEY_BYTES = 32;
const SALT_BYTES = 32;
const NONCE_BYTES = 24;
const BLOCK_SIZE = 8;
/** 2^16, what cosign writes. Source: go-securesystemslib, encrypted.Standard. */
const COST = 65_536;
/** The other costs that cosign reads; any other number could make us work for hours. */
const KNOWN_COSTS: readonly number[] = [32_768, COST, 131_072];
/** A P-256 key has some 500 bytes. */
const MAX_PEM_CHARACTERS = 64 * 1024;

const base64 = z.base64().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const schema = z.object({
  kdf: z.object({
    name: z.literal('scrypt'),
    params: z.object({ N: z.literal(KNOWN_COSTS), r: z.literal(BLOCK_SIZE), p: z.literal(1) }),
    salt: base64,
  }),
  cipher: z.object({ name: z.literal('nacl/secretbox'), nonce: base64 }),
  ciphertext: base64,
});

const derive = promisify<string, Uint8Array, number, object, Buffer>(scrypt);

/** Whether a PEM text is such a key. */
export function isEncryptedKey(pem: string): boolean {
  return PEM_TYPES.some((type) => pem.includes(`-----BEGIN ${type}-----`));
}

/** The PKCS #8 DER inside. Throws `KEY_INVALID`: another format, damage, or the wrong password. */
export async function decryptKey(pem: string, password: string): Promise<Uint8Array> {
  const body = /-----BEGIN (ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY)-----([\s\S]+?)-----END \1-----/.exec(
    pem.slice(0, MAX_PEM_CHARACTERS),
  )?.[2];
  const parsed = schema.safeParse(jsonOf(Buffer.from(body ?? '', 'base64').toString('utf8')));
  if (!parsed.success || parsed.data.cipher.nonce.length !== NONCE_BYTES) {
    throw new ContainerError(
      'KEY_INVALID',
      'cannot read the encrypted private key: it is damaged or of another format',
      {
        hint: 'give a key made by "heptad image keygen" or "cosign generate-key-pair", or an unencrypted PKCS #8 key',
      },
    );
  }
  const { kdf, cipher, ciphertext } = parsed.data;
  const key = await keyOf(password, kdf.salt, kdf.params.N);
  try {
    return xsalsa20poly1305(key, cipher.nonce).decrypt(ciphertext);
  } catch (cause) {
    throw new ContainerError('KEY_INVALID', 'cannot open the encrypted private key: the password is wrong', {
      cause,
      hint: 'COSIGN_PASSWORD has the password in the command line tools',
    });
  }
}

/** Encrypts PKCS #8 DER as cosign does. */
export async function encryptKey(der: Uint8Array, password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const nonce = randomBytes(NONCE_BYTES);
  const key = await keyOf(password, salt, COST);
  const json = JSON.stringify({
    kdf: { name: 'scrypt', params: { N: COST, r: BLOCK_SIZE, p: 1 }, salt: salt.toString('base64') },
    cipher: { name: 'nacl/secretbox', nonce: nonce.toString('base64') },
    ciphertext: Buffer.from(xsalsa20poly1305(key, nonce).encrypt(der)).toString('base64'),
  });
  const lines =
    Buffer.from(json)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${PEM_TYPES[0]}-----\n${lines.join('\n')}\n-----END ${PEM_TYPES[0]}-----\n`;
}

async function keyOf(password: string, salt: Uint8Array, cost: number): Promise<Uint8Array> {
  // scrypt needs 128 * N * r bytes, and Node refuses more than it is allowed.
  const maxmem = 2 * 128 * cost * BLOCK_SIZE;
  return new Uint8Array(await derive(password, salt, KEY_BYTES, { N: cost, r: BLOCK_SIZE, p: 1, maxmem }));
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
