// The read-only disk of an image, shared by all machines of it, and the thin writable disk of each.

import { access, link, mkdir, mkdtemp, open, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isHeptadError } from '@heptad/core';
import { errnoOf } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { unmountBelow } from '../oci/mounts.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, removeTree, syncDirectory } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';
import { identify } from '../system/processes.ts';

/** Changes when disks are made differently, so that old ones are not used any more. */
const FORMAT = 'v1';
// Filling the file system of an image of several GiB.
const MAKE_TIMEOUT_MS = 15 * 60_000;
const JOURNAL_MIB = 16;
/** Names of a machine's base and of its own disk in its directory. */
export const BASE_FILE = 'base.ext4';
/** What the machine wrote, over {@link BASE_FILE}. */
export const DISK_FILE = 'disk.qcow2';

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

  /**
   * Gives the machine in `directory` the base under a name of its own and, unless it has a disk already, an empty disk
   * over it. A link: the file lives as long as a machine has it, whatever becomes of the image and of this directory.
   */
  async give(base: string, directory: string, withDisk: boolean): Promise<void> {
    const own = join(directory, BASE_FILE);
    await link(base, own).catch(async (error: unknown) => {
      if (errnoOf(error) !== 'EXDEV') throw error;
      await runOrThrow('cp', ['--reflink=auto', '--sparse=always', base, own], {
        timeoutMs: MAKE_TIMEOUT_MS,
      });
    });
    if (!withDisk) return;
    const args = ['create', '-q', '-f', 'qcow2', '-b', BASE_FILE, '-F', 'raw', DISK_FILE];
    await runOrThrow('qemu-img', args, { cwd: directory });
  }

  /** Deletes what a crash left, and disks of images that are gone and no machine uses; returns a sentence for each. */
  async sweep(): Promise<string[]> {
    const freed: string[] = [];
    for (const name of await readdir(this.directory).catch(() => [])) {
      const path = join(this.directory, name);
      if (!(await this.isAbandoned(name, path))) continue;
      await unmountBelow(path);
      await removeTree(path);
      freed.push(`disk ${name}`);
    }
    return freed;
  }

  private async isAbandoned(name: string, path: string): Promise<boolean> {
    const maker = /^making-(\d+)-/.exec(name)?.[1];
    if (maker !== undefined) return Number(maker) !== process.pid && identify(Number(maker)) === undefined;
    const digest = /^sha256-([0-9a-f]{64})-/.exec(name)?.[1];
    if (digest === undefined || (await stat(path)).nlink > 1) return false;
    return await this.images.inspect(`sha256:${digest}`).then(
      () => false,
      (error: unknown) => isHeptadError(error, 'IMAGE_NOT_FOUND'),
    );
  }

  private path(imageDigest: string): string {
    return join(this.directory, `${imageDigest.replace(':', '-')}-${this.diskBytes}-${FORMAT}.ext4`);
  }

  private async make(path: string, imageDigest: string, top: string): Promise<void> {
    await ensureDirectory(this.directory);
    const work = await mkdtemp(join(this.directory, `making-${process.pid}-`));
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
