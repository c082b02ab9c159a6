// Secret files for containers of an engine that knows none: files in the host's memory, bound into the container.

import { chmod, readdir, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SecretFile } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { ensureDirectory, removeTree } from '../system/files.ts';

/** The magic number of tmpfs in statfs(2): the one file system whose content never reaches a disk but by swap. */
const TMPFS_MAGIC = 0x01021994;

/** A directory in memory with one subdirectory for each creation. */
export class SecretDirectory {
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Writes the secrets of a container; returns their paths. Throws `NOT_SUPPORTED` when the directory is on a disk. */
  async write(creation: string, secrets: readonly SecretFile[]): Promise<string[]> {
    if (secrets.length === 0) return [];
    await ensureDirectory(this.path);
    if ((await statfs(this.path)).type !== TMPFS_MAGIC) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot place secrets in ${this.path}: it is not in memory (tmpfs)`,
        {
          hint: 'give secretsDirectory a path on a tmpfs, such as one below /run or /dev/shm',
        },
      );
    }
    const directory = join(this.path, creation);
    await ensureDirectory(directory);
    const paths: string[] = [];
    for (const [index, secret] of secrets.entries()) {
      const path = join(directory, String(index));
      await writeFile(path, secret.content, { mode: 0o600 });
      await chmod(path, secret.mode ?? 0o400);
      paths.push(path);
    }
    return paths;
  }

  /** Removes the secrets of a creation; none is fine. */
  async remove(creation: string): Promise<void> {
    await removeTree(join(this.path, creation));
  }

  /** Removes the secrets of all creations but those known. */
  async sweep(known: ReadonlySet<string>): Promise<void> {
    const creations = await readdir(this.path).catch(() => []);
    for (const creation of creations) if (!known.has(creation)) await this.remove(creation);
  }
}
