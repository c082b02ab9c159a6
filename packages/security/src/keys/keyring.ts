// What a keyring holds: named keys, each with numbered versions. Plain data, parsed at the border.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { SecurityError } from '../errors.ts';
import { decryptionFailed } from './cipher.ts';

/** One version of a key. */
export interface KeyVersion {
  version: number;
  createdAt: number;
  /** 32 bytes, base64; null once retired. */
  material: string | null;
  /** Upper bound of the encryptions made with it: counted in memory, reserved here in blocks. */
  encryptions: number;
}

/** A key with all its versions, oldest first; versions are 1, 2, 3... without gaps. */
export interface NamedKey {
  name: string;
  createdAt: number;
  minDecryptionVersion: number;
  versions: KeyVersion[];
}

/** All keys. */
export interface Keyring {
  keys: NamedKey[];
}

const KEY_BYTES = 32;
const MATERIAL_CHARS = 44;
const keyringContent: z.ZodType<Keyring> = z.strictObject({
  keys: z.array(
    z.strictObject({
      name: z.string(),
      createdAt: z.number().int(),
      minDecryptionVersion: z.number().int().positive(),
      versions: z
        .array(
          z.strictObject({
            version: z.number().int().positive(),
            createdAt: z.number().int(),
            material: z.base64().length(MATERIAL_CHARS).nullable(),
            encryptions: z.number().int().nonnegative(),
          }),
        )
        .min(1),
    }),
  ),
});

/** Parses the opened content of a keyring; throws on anything else. */
export function parseKeyring(text: string): Keyring {
  const keyring = keyringContent.parse(JSON.parse(text));
  for (const key of keyring.keys) {
    key.versions.forEach((version, index) => {
      if (version.version !== index + 1) throw new Error('key versions are not consecutive');
    });
  }
  return keyring;
}

/** The key of that name. `KEY_NOT_FOUND`. */
export function findIn(keyring: Keyring, keyName: string): NamedKey {
  const key = keyring.keys.find((candidate) => candidate.name === keyName);
  if (key !== undefined) return key;
  throw new SecurityError('KEY_NOT_FOUND', `there is no key "${keyName}"`, { hint: 'create it first' });
}

/** Its newest version. */
export function latest(key: NamedKey): KeyVersion {
  const version = key.versions.at(-1);
  // INVARIANT: parseKeyring and createKey leave no key without a version.
  if (version === undefined) throw decryptionFailed();
  return version;
}

/** A version with fresh material. */
export function newVersion(version: number, now: number): KeyVersion {
  return { version, createdAt: now, material: randomBytes(KEY_BYTES).toString('base64'), encryptions: 0 };
}

/** The bytes of a version. `KEY_VERSION_RETIRED` when they are gone. */
export function materialOf(keyName: string, version: KeyVersion): Buffer {
  if (version.material !== null) return Buffer.from(version.material, 'base64');
  throw new SecurityError(
    'KEY_VERSION_RETIRED',
    `cannot decrypt with "${keyName}": version ${version.version} was retired and its material destroyed`,
  );
}
