// The sealed keyring file: one AES-256-GCM box under a root key that lives elsewhere.
//
// The file is JSON: a header (format, how the root key is had, a check value of the root key, the nonce) and the
// sealed keyring. The whole header is the box's associated data, so that no part of the file can be changed unseen.
// The check value, derived from the root key, tells "wrong root key" from "damaged file".

import { createCipheriv, createDecipheriv, hash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { dirname } from 'node:path';
import { z } from 'zod';
import { canonicalJson } from '../canonical.ts';
import { SecurityError } from '../errors.ts';
import {
  createPrivateFile,
  makePrivateDirectory,
  readIfPresent,
  replacePrivateFile,
  requirePrivate,
} from '../files.ts';
import { argon2id } from './argon2.ts';
import { type Keyring, parseKeyring } from './keyring.ts';

/** Where the root key comes from: a file of 32 random bytes (made at first use, mode 0600), or a passphrase. */
export type RootKeySource = { readonly keyFile: string } | { readonly passphrase: string };

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SALT_BYTES = 16;
/** Opened once per process start, so it can cost more than a login: RFC 9106's second recommendation. */
const PASSPHRASE_COST = { memoryKib: 65_536, passes: 3, parallelism: 4 } as const;
/** Bounds on what a (not yet authenticated) header may make us spend: 1 GiB, 16 passes. */
const MAX_MEMORY_KIB = 1_048_576;
const MAX_PASSES = 16;

const rootHeader = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('file') }),
  z.strictObject({
    kind: z.literal('argon2id'),
    salt: z.base64(),
    memoryKib: z.number().int().min(8).max(MAX_MEMORY_KIB),
    passes: z.number().int().min(1).max(MAX_PASSES),
    parallelism: z.number().int().min(1).max(16),
  }),
]);
const sealedFile = z.strictObject({
  format: z.literal('heptad-keyring'),
  version: z.literal(1),
  root: rootHeader,
  check: z.base64(),
  nonce: z.base64(),
  sealed: z.base64(),
});
type RootHeader = z.infer<typeof rootHeader>;

/** An opened keyring file: its content, and the means to replace it. */
export class KeyringFile {
  readonly path: string;
  readonly #root: Buffer;
  readonly #header: RootHeader;
  #fingerprint: string | undefined;

  private constructor(path: string, root: Buffer, header: RootHeader) {
    this.path = path;
    this.#root = root;
    this.#header = header;
  }

  /**
   * Opens the keyring at `path`, or begins an empty one when there is none.
   *
   * Errors: `KEYRING_CORRUPT` (the file is left untouched; the hint says how to restore it), `WRONG_ROOT_KEY`,
   * `ROOT_KEY_MISSING`, `INSECURE_FILE`.
   */
  static async open(path: string, source: RootKeySource): Promise<{ file: KeyringFile; keyring: Keyring }> {
    const raw = await readIfPresent(path);
    if (raw === undefined) return KeyringFile.#begin(path, source);
    await requirePrivate(path);
    const parsed = parseSealed(path, raw);
    const root = await loadRoot(path, source, parsed.root);
    if (!timingSafeEqual(checkValue(root), paddedCheck(parsed.check))) {
      throw new SecurityError(
        'WRONG_ROOT_KEY',
        `cannot open the keyring ${path}: the root key given is not the one it was sealed with`,
        { hint: 'use the root key file or passphrase of the time the keyring was made; nothing was changed' },
      );
    }
    const file = new KeyringFile(path, root, parsed.root);
    file.#fingerprint = fingerprint(raw);
    return { file, keyring: unseal(path, root, parsed) };
  }

  static async #begin(path: string, source: RootKeySource): Promise<{ file: KeyringFile; keyring: Keyring }> {
    if ((await readIfPresent(previousPath(path))) !== undefined) {
      throw new SecurityError(
        'KEYRING_CORRUPT',
        `cannot open the keyring ${path}: it is missing, but its previous version is there`,
        { hint: restoreHint(path) },
      );
    }
    await makePrivateDirectory(dirname(path));
    const { root, header } = await newRoot(source);
    return { file: new KeyringFile(path, root, header), keyring: { keys: [] } };
  }

  /**
   * Replaces the file durably. `KEYRING_CHANGED` when somebody else has written it since: two owners of one keyring
   * would silently undo each other's new keys.
   */
  async save(keyring: Keyring): Promise<void> {
    const now = await readIfPresent(this.path);
    if ((now === undefined ? undefined : fingerprint(now)) !== this.#fingerprint) {
      throw new SecurityError(
        'KEYRING_CHANGED',
        `cannot save the keyring ${this.path}: another process has changed it since it was opened`,
        { hint: 'one process owns a keyring; stop the other one and open it again' },
      );
    }
    const data = seal(this.#root, this.#header, keyring);
    await replacePrivateFile(this.path, data, previousPath(this.path));
    this.#fingerprint = fingerprint(data);
  }

  /** Forgets the root key. */
  close(): void {
    this.#root.fill(0);
  }
}

function previousPath(path: string): string {
  return `${path}.previous`;
}

function restoreHint(path: string): string {
  return (
    `put your backup in its place, or copy ${previousPath(path)} (the version before the last change: a key made or ` +
    'rotated by that change is not in it); nothing was changed'
  );
}

function fingerprint(data: Uint8Array): string {
  return hash('sha256', data, 'hex');
}

function derive(root: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', root, '', `heptad keyring v1 ${purpose}`, KEY_BYTES));
}

function checkValue(root: Uint8Array): Buffer {
  return derive(root, 'check');
}

function paddedCheck(text: string): Buffer {
  const given = Buffer.from(text, 'base64');
  return given.length === KEY_BYTES ? given : Buffer.alloc(KEY_BYTES);
}

function corrupt(path: string, why: string): SecurityError {
  return new SecurityError('KEYRING_CORRUPT', `cannot open the keyring ${path}: ${why}`, {
    hint: restoreHint(path),
    details: { path },
  });
}

function parseSealed(path: string, raw: Buffer): z.infer<typeof sealedFile> {
  let value: unknown;
  try {
    value = JSON.parse(raw.toString('utf8'));
  } catch {
    throw corrupt(path, raw.length === 0 ? 'the file is empty' : 'the file is damaged (not JSON)');
  }
  const result = sealedFile.safeParse(value);
  if (result.success) return result.data;
  throw corrupt(
    path,
    `the file is damaged (${result.error.issues[0]?.path.join('.') || 'its form'} is wrong)`,
  );
}

function unseal(path: string, root: Buffer, file: z.infer<typeof sealedFile>): Keyring {
  const { sealed, ...header } = file;
  const box = Buffer.from(sealed, 'base64');
  const nonce = Buffer.from(header.nonce, 'base64');
  if (nonce.length !== NONCE_BYTES || box.length < TAG_BYTES) throw corrupt(path, 'the file is cut short');
  const decipher = createDecipheriv('aes-256-gcm', derive(root, 'seal'), nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(canonicalJson(header)));
  decipher.setAuthTag(box.subarray(-TAG_BYTES));
  try {
    const text = Buffer.concat([decipher.update(box.subarray(0, -TAG_BYTES)), decipher.final()]);
    return parseKeyring(text.toString('utf8'));
  } catch {
    throw corrupt(path, 'its seal is broken (bytes were changed or lost)');
  }
}

function seal(root: Buffer, rootHeaderValue: RootHeader, keyring: Keyring): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const header = {
    format: 'heptad-keyring',
    version: 1,
    root: rootHeaderValue,
    check: checkValue(root).toString('base64'),
    nonce: nonce.toString('base64'),
  };
  const cipher = createCipheriv('aes-256-gcm', derive(root, 'seal'), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(canonicalJson(header)));
  const box = Buffer.concat([
    cipher.update(JSON.stringify(keyring), 'utf8'),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return Buffer.from(`${canonicalJson({ ...header, sealed: box.toString('base64') })}\n`);
}

async function newRoot(source: RootKeySource): Promise<{ root: Buffer; header: RootHeader }> {
  if ('passphrase' in source) {
    const salt = randomBytes(SALT_BYTES);
    const header = { kind: 'argon2id' as const, salt: salt.toString('base64'), ...PASSPHRASE_COST };
    return { root: await argon2id(Buffer.from(source.passphrase), salt, PASSPHRASE_COST, KEY_BYTES), header };
  }
  await makePrivateDirectory(dirname(source.keyFile));
  const existing = await readRootFile(source.keyFile);
  if (existing !== undefined) return { root: existing, header: { kind: 'file' } };
  const root = randomBytes(KEY_BYTES);
  await createPrivateFile(source.keyFile, Buffer.from(`${root.toString('base64')}\n`));
  return { root, header: { kind: 'file' } };
}

async function loadRoot(path: string, source: RootKeySource, header: RootHeader): Promise<Buffer> {
  if ('passphrase' in source) {
    if (header.kind !== 'argon2id') throw wrongSource(path, 'a root key file', 'a passphrase');
    return argon2id(Buffer.from(source.passphrase), Buffer.from(header.salt, 'base64'), header, KEY_BYTES);
  }
  if (header.kind !== 'file') throw wrongSource(path, 'a passphrase', 'a root key file');
  const root = await readRootFile(source.keyFile);
  if (root !== undefined) return root;
  throw new SecurityError(
    'ROOT_KEY_MISSING',
    `cannot open the keyring ${path}: its root key file ${source.keyFile} is missing`,
    {
      hint: 'restore the root key file from your backup; without it the keys cannot be recovered by anybody',
    },
  );
}

function wrongSource(path: string, sealedWith: string, given: string): SecurityError {
  return new SecurityError(
    'WRONG_ROOT_KEY',
    `cannot open the keyring ${path}: it is sealed with ${sealedWith}, but ${given} was given`,
  );
}

async function readRootFile(path: string): Promise<Buffer | undefined> {
  const text = await readIfPresent(path);
  if (text === undefined) return undefined;
  await requirePrivate(path);
  const root = Buffer.from(text.toString('utf8').trim(), 'base64');
  if (root.length === KEY_BYTES) return root;
  throw new SecurityError(
    'WRONG_ROOT_KEY',
    `cannot use the root key file ${path}: it does not hold 32 bytes`,
    {
      hint: 'restore the root key file from your backup; nothing was changed',
    },
  );
}
