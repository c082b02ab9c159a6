// The keyring travels with the state: what the primary encrypted, its successor must be able to decrypt. It is sealed with a
// key derived from the centres' secret, which is never in the state.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HeptadError, type StateStore } from '@heptad/core';
import { z } from 'zod';

/** Key of the sealed keyring in the replicated state. */
export const SHARED_KEYRING_KEY = '/security/shared-keyring';

const FILES = ['keyring.json', 'keyring.json.root'] as const;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const PURPOSE = 'heptad centres keyring v1';

const bundleSchema = z.strictObject({ 'keyring.json': z.string(), 'keyring.json.root': z.string() });
type Bundle = z.infer<typeof bundleSchema>;

function sealingKey(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', PURPOSE, KEY_BYTES));
}

/** AES-256-GCM, the purpose as associated data; base64 of nonce, ciphertext and tag. */
export function sealBundle(bundle: Bundle, secret: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', sealingKey(secret), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(PURPOSE));
  const box = [nonce, cipher.update(JSON.stringify(bundle), 'utf8'), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(box).toString('base64');
}

/** Error: `WRONG_CENTER_SECRET` when it was sealed with another secret, or damaged. */
export function unsealBundle(sealed: string, secret: string): Bundle {
  const bytes = Buffer.from(sealed, 'base64');
  const nonce = bytes.subarray(0, NONCE_BYTES);
  try {
    const decipher = createDecipheriv('aes-256-gcm', sealingKey(secret), nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(PURPOSE));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    return bundleSchema.parse(JSON.parse(text.toString('utf8')));
  } catch (cause) {
    throw new HeptadError(
      'WRONG_CENTER_SECRET',
      `cannot open the keyring of the centres in ${SHARED_KEYRING_KEY}: it was sealed with another secret`,
      { cause, hint: 'all centres must have the same secret file' },
    );
  }
}

async function readBundle(directory: string): Promise<Bundle | undefined> {
  const texts = await Promise.all(
    FILES.map((name) => readFile(join(directory, name), 'utf8').catch(() => undefined)),
  );
  const [keyring, root] = texts;
  return keyring === undefined || root === undefined
    ? undefined
    : { 'keyring.json': keyring, 'keyring.json.root': root };
}

/** Puts this centre's keyring into the state; called after each change of it, and once at the start. */
export async function publishKeyring(store: StateStore, directory: string, secret: string): Promise<void> {
  const bundle = await readBundle(directory);
  if (bundle === undefined) return;
  const known = (await store.range({ key: SHARED_KEYRING_KEY })).kvs[0]?.value;
  if (known !== undefined && sameBundle(unsealBundle(known, secret), bundle)) return;
  const value = sealBundle(bundle, secret);
  await store.txn({ compare: [], success: [{ op: 'put', key: SHARED_KEYRING_KEY, value }] });
}

/**
 * Takes the keyring of the state as this centre's own, before it is opened. Resolves with whether it was another one; the
 * files that were there are kept beside, with the suffix `.replaced`.
 */
export async function adoptKeyring(store: StateStore, directory: string, secret: string): Promise<boolean> {
  const shared = (await store.range({ key: SHARED_KEYRING_KEY })).kvs[0]?.value;
  if (shared === undefined) return false;
  const bundle = unsealBundle(shared, secret);
  const own = await readBundle(directory);
  if (own !== undefined && sameBundle(own, bundle)) return false;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // The root key first: a crash in between leaves a keyring that says "wrong root key", and the next start does this again.
  for (const name of [...FILES].reverse()) {
    const path = join(directory, name);
    if (own !== undefined) await writeDurably(`${path}.replaced`, own[name]);
    await writeDurably(path, bundle[name]);
  }
  return true;
}

function sameBundle(one: Bundle, other: Bundle): boolean {
  return FILES.every((name) => one[name] === other[name]);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(`${path}.tmp`, 0o600);
  await rename(`${path}.tmp`, path);
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
