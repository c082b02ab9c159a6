// Durable small files: written aside, synced, renamed, and the directory synced, so that a reader sees old or new.

import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { identify } from './processes.ts';

// Distinguishes temporary files of concurrent writes within one process; the pid distinguishes processes.
let temporaryCounter = 0;

/** A name beside `path` that no other write uses. */
export function temporaryBeside(path: string): string {
  temporaryCounter += 1;
  return `${path}.${process.pid}.${temporaryCounter}.tmp`;
}

/** Deletes temporary files of writes that a dead process never finished; returns how many. */
export async function deleteAbandonedTemporaries(directory: string): Promise<number> {
  let deleted = 0;
  for (const name of await readdir(directory).catch(() => [])) {
    const writer = /\.(\d+)\.\d+\.tmp$/.exec(name)?.[1];
    // Of a reused pid the file stays until that process is gone too, which is soon enough.
    if (writer === undefined || Number(writer) === process.pid || identify(Number(writer)) !== undefined)
      continue;
    await removeTree(join(directory, name));
    deleted += 1;
  }
  return deleted;
}

/** Makes creations, renames and removals of a directory's entries durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } catch (error) {
    throw diskError(error, `sync ${path}`);
  } finally {
    await directory.close();
  }
}

/** Removes a file; missing is fine. Throws `READ_ONLY`. */
export async function unlinkIfAny(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw diskError(error, `remove ${path}`);
  });
}

/** How a file is replaced. */
export interface ReplaceOptions {
  /** Permission bits. Default 0o600. */
  readonly mode?: number;
  /** Whether it must also survive a power cut. Default true. */
  readonly durable?: boolean;
}

/** Replaces `path` as a whole: after a crash at any point it holds the old or the new bytes, never a part. */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: ReplaceOptions = {},
): Promise<void> {
  const temporary = temporaryBeside(path);
  const durable = options.durable ?? true;
  try {
    const file = await open(temporary, 'wx', options.mode ?? 0o600);
    try {
      await file.writeFile(data);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    if (durable) await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw diskError(error, `write ${path}`);
  }
}

/** {@link writeFileAtomic} of a value as JSON. */
export async function writeJsonAtomic(
  path: string,
  value: unknown,
  options: ReplaceOptions = {},
): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value)}\n`, options);
}

/** The parsed JSON of a file, or undefined when there is no such file. Throws `STORE_CORRUPT` naming the file. */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
  // What a power cut can leave of a file that was not made to survive one.
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ContainerError('STORE_CORRUPT', `cannot read ${path}: it is not JSON`, {
      cause,
      hint: 'ContainerEngine.repair() sets the damaged file aside; restore it from a backup to keep it',
      details: { path },
    });
  }
}

/** Creates a directory and its parents, all to survive a power cut; existing is fine. */
export async function ensureDirectory(path: string, mode = 0o700): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode });
    // Each new directory is an entry of its parent: without these, what is synced inside could hang in the air.
    for (let made = path; first !== undefined; made = dirname(made)) {
      await syncDirectory(dirname(made));
      if (made === first || dirname(made) === made) break;
    }
  } catch (error) {
    throw diskError(await reasonOf(error, path), `create directory ${path}`);
  }
}

/** A recursive mkdir calls a read-only file system ENOENT; a plain one of the first missing directory says what is the matter. */
async function reasonOf(error: unknown, path: string): Promise<unknown> {
  if (errnoOf(error) !== 'ENOENT') return error;
  let missing = path;
  while (dirname(missing) !== missing && (await stat(dirname(missing)).catch(() => undefined)) === undefined)
    missing = dirname(missing);
  return await mkdir(missing).then(
    () => error,
    (reason: unknown) => reason,
  );
}

/** Removes a tree; missing is fine. */
export async function removeTree(path: string): Promise<void> {
  // The kernel may still be busy with a file for an instant after an unmount.
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }).catch((error: unknown) => {
    throw diskError(error, `remove ${path}`);
  });
}

/** Removes what a failed operation made. Its own failure must not hide why: what stays is removed by the next collection. */
export async function discardTree(path: string): Promise<void> {
  await removeTree(path).catch(() => undefined);
}

/** Text of a file, or undefined when it cannot be read (missing, or a /proc file whose process is gone). */
export async function readTextIfAny(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
