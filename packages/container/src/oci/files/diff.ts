// What a container changed of its image: its writable directory beside the image's and the sum of both.

import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import type { FileChange } from '@heptad/core';
import { errnoOf } from '../../errors.ts';
import { within } from './rooted.ts';

/** The three directories, and the places where something was mounted. */
export interface DiffInputs {
  /** What the container wrote: the upper directory of its overlay. */
  readonly upper: FileHandle;
  /** The image. */
  readonly lower: FileHandle;
  /** What the container sees, mounts left out. */
  readonly merged: FileHandle;
  /** Paths the runtime made to mount on; they are no change of the container's. */
  readonly mountPoints: ReadonlySet<string>;
}

/** The changes, and which paths of the upper directory are only mount points. */
export interface Diff {
  readonly changes: FileChange[];
  readonly ignored: ReadonlySet<string>;
}

/** Compares. A directory is told of when its owner or mode changed, or something in it did, as in Docker. */
export async function diffOf(inputs: DiffInputs): Promise<Diff> {
  const walker = new Walker(inputs.mountPoints);
  await walker.directory('', inputs.upper, inputs.lower, inputs.merged);
  const changes = walker.changes.sort((one, other) => (one.path < other.path ? -1 : 1));
  return { changes, ignored: walker.ignored };
}

class Walker {
  readonly changes: FileChange[] = [];
  readonly ignored: Set<string> = new Set<string>();
  private readonly mountPoints: ReadonlySet<string>;

  constructor(mountPoints: ReadonlySet<string>) {
    this.mountPoints = mountPoints;
  }

  /** Walks one directory that both the container and perhaps the image have. */
  async directory(
    logical: string,
    upper: FileHandle,
    lower: FileHandle | undefined,
    merged: FileHandle | undefined,
  ): Promise<void> {
    for (const name of await names(upper))
      await this.entry(`${logical}/${name}`, name, { upper, lower, merged });
    if (lower === undefined || merged === undefined) return;
    // Whether by a whiteout or by an opaque directory: what the sum does not show is deleted.
    const seen = new Set(await names(merged));
    for (const name of await names(lower)) {
      if (!seen.has(name)) this.changes.push({ path: `${logical}/${name}`, kind: 'deleted' });
    }
  }

  private async entry(
    path: string,
    name: string,
    {
      upper,
      lower,
      merged,
    }: { upper: FileHandle; lower: FileHandle | undefined; merged: FileHandle | undefined },
  ): Promise<void> {
    const now = await look(upper, name);
    // A whiteout is a character device 0/0; gone is gone again since the listing.
    if (now === undefined || (now.isCharacterDevice() && now.rdev === 0)) return;
    const before = lower === undefined ? undefined : await look(lower, name);
    const isMountPoint =
      before === undefined && this.mountPoints.has(path) && (now.isDirectory() || now.size === 0);
    if (isMountPoint) {
      this.ignored.add(path);
      return;
    }
    const count = this.changes.length;
    if (now.isDirectory()) {
      await using deeper = await open3(
        name,
        upper,
        before?.isDirectory() === true ? lower : undefined,
        merged,
      );
      if (deeper.upper !== undefined) await this.directory(path, deeper.upper, deeper.lower, deeper.merged);
    }
    if (before === undefined) {
      const onlyHoldsMounts = [...this.mountPoints].some((point) => point.startsWith(`${path}/`));
      if (onlyHoldsMounts && this.changes.length === count) this.ignored.add(path);
      else this.changes.push({ path, kind: 'added' });
    } else if (
      !now.isDirectory() ||
      !before.isDirectory() ||
      this.changes.length > count ||
      differs(now, before)
    ) {
      this.changes.push({ path, kind: 'changed' });
    }
  }
}

function differs(now: Stats, before: Stats): boolean {
  return now.mode !== before.mode || now.uid !== before.uid || now.gid !== before.gid;
}

async function names(directory: FileHandle): Promise<string[]> {
  return await readdir(within(directory, '.'));
}

async function look(directory: FileHandle, name: string): Promise<Stats | undefined> {
  return await lstat(within(directory, name)).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
}

interface Three extends AsyncDisposable {
  readonly upper: FileHandle | undefined;
  readonly lower: FileHandle | undefined;
  readonly merged: FileHandle | undefined;
}

/** The same subdirectory of all three; each absent where it is no directory, or is none any more. */
async function open3(
  name: string,
  upper: FileHandle,
  lower: FileHandle | undefined,
  merged: FileHandle | undefined,
): Promise<Three> {
  const enter = async (directory: FileHandle | undefined): Promise<FileHandle | undefined> => {
    if (directory === undefined) return undefined;
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    return await open(within(directory, name), flags).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    });
  };
  const opened = { upper: await enter(upper), lower: await enter(lower), merged: await enter(merged) };
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(opened).map((handle) => handle?.close()));
    },
  };
}
