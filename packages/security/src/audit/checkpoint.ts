// Checkpoints: signed statements "record <seq> had this hash", which nobody without the key can make anew.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical.ts';
import { SecurityError } from '../errors.ts';
import { createPrivateFile, readIfPresent, requirePrivate } from '../files.ts';

/** A signed statement about the log's head at one moment. */
export interface Checkpoint {
  readonly at: number;
  /** Hash of record `seq`. */
  readonly hash: string;
  /** {@link keyFingerprint} of the signing key. */
  readonly key: string;
  readonly seq: number;
  /** Ed25519, base64. */
  readonly signature: string;
}

const checkpoint: z.ZodType<Checkpoint> = z.strictObject({
  at: z.number().int(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  key: z.string().regex(/^[0-9a-f]{16}$/),
  seq: z.number().int().nonnegative(),
  signature: z.base64(),
});

/** Reads a checkpoint's JSON text; undefined when it is none. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  try {
    return checkpoint.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Short name of a public key: the first 16 hex digits of the SHA-256 of its DER form. */
export function keyFingerprint(key: KeyObject): string {
  return hash('sha256', publicOf(key).export({ type: 'spki', format: 'der' }), 'hex').slice(0, 16);
}

function publicOf(key: KeyObject): KeyObject {
  return key.type === 'public' ? key : createPublicKey(key);
}

function signedBytes(of: Pick<Checkpoint, 'at' | 'hash' | 'key' | 'seq'>): Buffer {
  return Buffer.from(
    `heptad-audit-checkpoint-v1\n${canonicalJson({ at: of.at, hash: of.hash, key: of.key, seq: of.seq })}`,
  );
}

/** Signs the head of a log with an Ed25519 private key. */
export function signCheckpoint(seq: number, headHash: string, at: number, key: KeyObject): Checkpoint {
  const body = { at, hash: headHash, key: keyFingerprint(key), seq };
  return { ...body, signature: sign(null, signedBytes(body), key).toString('base64') };
}

/** Whether the checkpoint was signed with this key. */
export function verifyCheckpoint(signed: Checkpoint, key: KeyObject): boolean {
  if (signed.key !== keyFingerprint(key)) return false;
  return verify(null, signedBytes(signed), publicOf(key), Buffer.from(signed.signature, 'base64'));
}

/**
 * The Ed25519 key that signs checkpoints, from a private file (PKCS #8 PEM, mode 0600) made at first use.
 * `INSECURE_FILE`, `AUDIT_CORRUPT`.
 */
export async function loadSigningKey(path: string): Promise<KeyObject> {
  const existing = await readIfPresent(path);
  if (existing === undefined) {
    const { privateKey } = generateKeyPairSync('ed25519');
    await createPrivateFile(path, Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    return privateKey;
  }
  await requirePrivate(path);
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(existing);
  } catch {
    // Told below, without the key's bytes that some parsers quote.
  }
  if (key?.asymmetricKeyType === 'ed25519') return key;
  throw new SecurityError('AUDIT_CORRUPT', `cannot use ${path}: it holds no Ed25519 private key`, {
    hint: 'restore it from your backup; without it old checkpoints can still be verified with the public key',
  });
}
