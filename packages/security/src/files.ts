// Small secret files: private to their owner, replaced whole, durable before anybody relies on them.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecurityError } from './errors.ts';

const OWNER_ONLY = 0o600;
const OWNER_ONLY_DIRECTORY = 0o700;
/** Any permission for group or others. */
const SHARED_BITS = 0o077;

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** The file's bytes, or `undefined` when there is no such file. */
export async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Creates a directory (and its parents) that only its owner may enter. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: OWNER_ONLY_DIRECTORY });
}

/** `INSECURE_FILE` when anybody but the owner can read or change the secret file at `path`. */
export async function requirePrivate(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & SHARED_BITS) === 0) return;
  throw new SecurityError(
    'INSECURE_FILE',
    `refusing the secret file ${path}: its mode ${(mode & 0o777).toString(8)} lets others than its owner in`,
    { hint: `chmod 600 ${path}, and rotate the keys if somebody may have read it`, details: { path } },
  );
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes a new secret file. `EEXIST` (as `CONFLICT`) when somebody else was first: a root key is never overwritten.
 * The file appears whole or not at all.
 */
export async function createPrivateFile(path: string, data: Uint8Array): Promise<void> {
  const temporary = await writeTemporary(path, data);
  try {
    // link, unlike rename, fails when the target exists.
    await link(temporary, path);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) {
      throw new SecurityError('CONFLICT', `cannot create ${path}: it exists already`);
    }
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
}

/**
 * Replaces a secret file: after a crash at any point the path holds the old or the new content, whole. The old content
 * stays at `previousPath` when that is given.
 */
export async function replacePrivateFile(
  path: string,
  data: Uint8Array,
  previousPath?: string,
): Promise<void> {
  const temporary = await writeTemporary(path, data);
  try {
    if (previousPath !== undefined) await keepPrevious(path, previousPath);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

async function keepPrevious(path: string, previousPath: string): Promise<void> {
  await rm(previousPath, { force: true });
  try {
    await link(path, previousPath);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

async function writeTemporary(path: string, data: Uint8Array): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  const handle = await open(temporary, 'wx', OWNER_ONLY);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  return temporary;
}
