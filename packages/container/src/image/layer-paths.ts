// Where an entry of a layer archive may go: names are cleaned, parents are walked component by component inside the root.

import { lstat, mkdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError, errnoOf } from '../errors.ts';

const MAX_PATH_BYTES = 4096;
const MAX_COMPONENT_BYTES = 255;
// The kernel follows at most 40 symbolic links in one path.
const MAX_SYMLINK_HOPS = 40;

/** An entry that would write outside its layer, or make something a layer must not hold. */
export function unsafeEntry(name: string, why: string): ContainerError {
  return new ContainerError('UNSAFE_ARCHIVE', `refused the layer: entry "${name.slice(0, 200)}" ${why}`, {
    hint: 'the image is broken or hostile; do not use it',
    details: { entry: name.slice(0, 1_000) },
  });
}

/** The components of an entry's name below the root; [] is the root itself. Throws `UNSAFE_ARCHIVE`. */
export function entryComponents(name: string): string[] {
  if (name.includes('\0')) throw unsafeEntry(name, 'has a zero byte in its name');
  if (Buffer.byteLength(name) > MAX_PATH_BYTES)
    throw unsafeEntry(name, `has a name over ${MAX_PATH_BYTES} bytes`);
  const components = name.split('/').filter((part) => part !== '' && part !== '.');
  if (components.includes('..')) throw unsafeEntry(name, 'leads out of the layer with ".."');
  const long = components.find((part) => Buffer.byteLength(part) > MAX_COMPONENT_BYTES);
  if (long !== undefined) throw unsafeEntry(name, `has a component over ${MAX_COMPONENT_BYTES} bytes`);
  return components;
}

/** Called for each directory that had to be made because an entry's parent was not in the archive. */
export type DirectoryMade = (path: string, components: readonly string[]) => Promise<void>;

/**
 * Resolves directories below `root` as a process inside it would see them: symbolic links are followed, absolute ones
 * start at `root`, and `..` never leaves it. Missing directories are made. The tree must not be written by others
 * meanwhile: it is a directory only we know, being filled.
 */
export async function directoryInside(
  root: string,
  components: readonly string[],
  made: DirectoryMade,
): Promise<string[]> {
  const pending = [...components];
  const resolved: string[] = [];
  let hops = 0;
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    if (next === '..') {
      resolved.pop();
      continue;
    }
    const path = join(root, ...resolved, next);
    const kind = await entryKind(path);
    if (kind === 'symlink') {
      hops += 1;
      if (hops > MAX_SYMLINK_HOPS)
        throw unsafeEntry(components.join('/'), 'passes through a loop of symbolic links');
      const target = await readlink(path);
      if (target.startsWith('/')) resolved.length = 0;
      pending.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
      continue;
    }
    if (kind === 'other')
      throw unsafeEntry(components.join('/'), `has a parent "${next}" that is not a directory`);
    resolved.push(next);
    if (kind === 'missing') {
      await mkdir(path, { mode: 0o755 });
      await made(path, resolved);
    }
  }
  return resolved;
}

async function entryKind(path: string): Promise<'missing' | 'directory' | 'symlink' | 'other'> {
  try {
    const info = await lstat(path);
    if (info.isDirectory()) return 'directory';
    return info.isSymbolicLink() ? 'symlink' : 'other';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'missing';
    throw error;
  }
}

/**
 * The path of an existing file below `root` as a process inside would find it, or undefined. For reading files such
 * as /etc/passwd of a container that does not run: a link to the host's file must lead nowhere.
 */
export async function fileInside(root: string, path: string): Promise<string | undefined> {
  const pending = path.split('/').filter((part) => part !== '' && part !== '.');
  const resolved: string[] = [];
  let hops = 0;
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    if (next === '..') {
      resolved.pop();
      continue;
    }
    const here = join(root, ...resolved, next);
    const kind = await entryKind(here).catch(() => 'missing' as const);
    if (kind === 'missing') return undefined;
    if (kind === 'symlink') {
      hops += 1;
      if (hops > MAX_SYMLINK_HOPS) return undefined;
      const target = await readlink(here);
      if (target.startsWith('/')) resolved.length = 0;
      pending.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
      continue;
    }
    resolved.push(next);
  }
  return join(root, ...resolved);
}
