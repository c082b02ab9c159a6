// Finding a file of a container's root file system as a process inside would, for readers on the host.

import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.ts';

// The kernel follows at most 40 symbolic links in one path.
const MAX_SYMLINK_HOPS = 40;

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
