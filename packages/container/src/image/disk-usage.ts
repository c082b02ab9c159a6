// How much of a disk a tree takes.

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What a tree takes on the disk. */
export interface Usage {
  /** Files, directories and links; a file of several names counts once. */
  readonly inodes: number;
  /** Bytes of blocks in use; holes of sparse files take none. */
  readonly bytes: number;
}

// st_blocks counts in these, whatever the file system's own block is.
const BLOCK_BYTES = 512;

/** Adds up a tree, its root included. What vanishes meanwhile is left out. */
export async function diskUsage(root: string, signal?: AbortSignal): Promise<Usage> {
  const seen = new Set<string>();
  let bytes = 0;
  const pending = [root];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal?.throwIfAborted();
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined) continue;
    const id = `${info.dev}:${info.ino}`;
    if (!seen.has(id)) bytes += info.blocks * BLOCK_BYTES;
    seen.add(id);
    if (!info.isDirectory()) continue;
    for (const name of await readdir(path).catch(() => [])) pending.push(join(path, name));
  }
  return { inodes: seen.size, bytes };
}
