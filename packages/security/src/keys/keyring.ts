// What a keyring holds: named keys, each with numbered versions. Plain data, parsed at the border.

import { z } from 'zod';

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
