// The read-only disk of an image, shared by all machines of it, and the thin writable disk of each.

import { access, mkdir, mkdtemp, open, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageStore } from '../image/image-store.ts';
import { unmountBelow } from '../oci/mounts.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, removeTree, syncDirectory } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';

/** Changes when disks are made differently, so that old ones are not used any more. */
const FORMAT = 'v1';
// Filling the file system of an image of several GiB.
const MAKE_TIMEOUT_MS = 15 * 60_000;
const JOURNAL_MIB = 16;

/** The disks of a runtime's images, in `directory`. */
export class BaseImages {
  private readonly directory: string;
  private readonly images: ImageStore;
  private readonly diskBytes: number;
  private readonly locks = new Map<string, Mutex>();

  constructor(directory: string, images: ImageStore, diskBytes: number) {
    this.directory = directory;
    this.images = images;
    this.diskBytes = diskBytes;
  }

  /** The disk of an unpacked image; made when there is none. Needs root, because only root can give files to others. */
  async ensure(imageDigest: string, top: string): Promise<string> {
    const path = this.path(imageDigest);
    const lock = this.locks.get(path) ?? new Mutex();
    this.locks.set(path, lock);
    await lock.run(async () => {
      if (!(await exists(path))) await this.make(path, imageDigest, top);
    });
    return path;
  }

  /** Makes the writable disk at `path` over a base. */
  async overlay(base: string, path: string): Promise<void> {
    await runOrThrow('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', path]);
  }

  /** Deletes what a crash left, and the disks of images that no machine uses; returns a sentence for each. */
  async sweep(usedImageDigests: ReadonlySet<string>): Promise<string[]> {
    const used = new Set([...usedImageDigests].map((digest) => this.path(digest)));
    const freed: string[] = [];
    for (const name of await readdir(this.directory).catch(() => [])) {
      const path = join(this.directory, name);
      if (used.has(path) || this.locks.has(path)) continue;
      await unmountBelow(path);
      await removeTree(path);
      freed.push(`disk ${name}`);
    }
    return freed;
  }

  /** Where the disk of an image is, or would be. */
  path(imageDigest: string): string {
    return join(this.directory, `${imageDigest.replace(':', '-')}-${this.diskBytes}-${FORMAT}.ext4`);
  }

  private async make(path: string, imageDigest: string, top: string): Promise<void> {
    await ensureDirectory(this.directory);
    const work = await mkdtemp(join(this.directory, 'making-'));
    const at = (name: string): string => join(work, name);
    try {
      await Promise.all(['root', 'upper', 'work'].map((name) => mkdir(at(name), { mode: 0o755 })));
      await this.images.snapshots.mount(top, at('upper'), at('work'), at('root'));
      // Sparse: what the file system does not use takes no space.
      await truncate(at('disk'), this.diskBytes);
      await runOrThrow('mkfs.ext4', [...makeArguments(imageDigest), '-d', at('root'), at('disk')], {
        timeoutMs: MAKE_TIMEOUT_MS,
      });
      await sync(at('disk'));
      await rename(at('disk'), path);
      await syncDirectory(this.directory);
    } finally {
      await unmountBelow(work);
      await removeTree(work);
    }
  }
}

/** Everything random about a file system is derived from the image, so that its disk can be made again. */
function makeArguments(imageDigest: string): string[] {
  const hex = imageDigest.replace(/^\w+:/, '');
  const uuid = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-');
  const extended = `lazy_itable_init=1,lazy_journal_init=1,nodiscard,hash_seed=${uuid}`;
  return ['-q', '-F', '-m', '0', '-U', uuid, '-E', extended, '-J', `size=${JOURNAL_MIB}`];
}

async function truncate(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
