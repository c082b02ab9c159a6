// AES-256-GCM with the key's version in front: `heptad:v<N>:<base64(nonce | ciphertext | tag)>`.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { canonicalJson } from '../canonical.ts';
import { SecurityError } from '../errors.ts';

/** NIST SP 800-38D: with other nonce lengths GCM hashes the nonce and its collision bound worsens. */
export const NONCE_BYTES = 12;
/** Shorter tags are refused: Node would otherwise accept them. */
export const TAG_BYTES = 16;
/** Everything is in memory at once; larger data belongs under a data key (`KeyManager.dataKey`). */
export const MAX_PLAINTEXT_BYTES: number = 16 * 1024 * 1024;
const MAX_CIPHERTEXT_CHARS = Math.ceil(((MAX_PLAINTEXT_BYTES + NONCE_BYTES + TAG_BYTES) * 4) / 3) + 64;

/** The facts a ciphertext is bound to. */
export interface Binding {
  readonly keyName: string;
  readonly version: number;
  readonly context: Readonly<Record<string, string>>;
}

/**
 * One error for every reason a ciphertext does not open (form, nonce, tag, context, key): telling them apart would help
 * only somebody who is guessing.
 */
export function decryptionFailed(): SecurityError {
  return new SecurityError('DECRYPTION_FAILED', 'decryption failed', {
    hint: 'the ciphertext was changed, belongs to another key, or another context was given at encryption',
  });
}

// Canonical JSON is injective, so no two bindings share their associated data.
function associatedData(binding: Binding): Buffer {
  return Buffer.from(canonicalJson(['heptad-key-v1', binding.keyName, binding.version, binding.context]));
}

/** Encrypts under `material` (32 bytes) with a fresh random nonce. */
export function seal(material: Uint8Array, plaintext: Uint8Array, binding: Binding): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', material, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associatedData(binding));
  const box = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return `heptad:v${binding.version}:${box.toString('base64')}`;
}

/** The version and the box of a ciphertext; `DECRYPTION_FAILED` when it has not the form of one. */
export function parseCiphertext(ciphertext: string): { version: number; box: Buffer } {
  if (typeof ciphertext !== 'string' || ciphertext.length > MAX_CIPHERTEXT_CHARS) throw decryptionFailed();
  const match = /^heptad:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})$/.exec(ciphertext);
  if (match?.[1] === undefined || match[2] === undefined) throw decryptionFailed();
  const box = Buffer.from(match[2], 'base64');
  // One plaintext, one text: base64 with stray bits or missing padding is not what `seal` wrote.
  if (box.toString('base64') !== match[2] || box.length < NONCE_BYTES + TAG_BYTES) throw decryptionFailed();
  return { version: Number(match[1]), box };
}

/** Opens what {@link seal} made; `DECRYPTION_FAILED` otherwise. */
export function unseal(material: Uint8Array, box: Buffer, binding: Binding): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', material, box.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associatedData(binding));
  decipher.setAuthTag(box.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(box.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    throw decryptionFailed();
  }
}
