// Unpacks a tar stream into a container, entry by entry through open directories, so that no planted link leads out.

import { constants } from 'node:fs';
import { lchown, link, lutimes, mkdir, open, symlink, unlink } from 'node:fs/promises';
import type { CopyInOptions } from '@heptad/core';
import { ContainerError, diskError, errnoOf } from '../../errors.ts';
import { unsafeEntry } from '../../image/layer-errors.ts';
import { entryComponents } from '../../image/layer-root.ts';
import type { TarHeader } from '../../image/tar-header.ts';
import { TarReader } from '../../image/tar-reader.ts';
import { run } from '../../system/command.ts';
import { type Found, type Rooted, within } from './rooted.ts';

// More files than any copy by hand; images have their own way in.
const MAX_ENTRIES = 1_000_000;
const DEFAULT_DIRECTORY_MODE = 0o755;

/** Who owns what comes without an owner of its own. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Unpacks `tar` into `path`. Throws `PATH_NOT_FOUND`, `INVALID_ARGUMENT`, `UNSAFE_ARCHIVE`, `ARCHIVE_INVALID`. */
export async function copyIn(
  rooted: Rooted,
  path: string,
  tar: AsyncIterable<Uint8Array>,
  user: Owner,
  options: CopyInOptions,
): Promise<void> {
  const target = await rooted.find(path, { follow: true });
  if (target.stat?.isDirectory() !== true) {
    throw new ContainerError(
      'PATH_NOT_FOUND',
      `cannot copy into ${path}: it is no directory of the container`,
      {
        hint: 'make it first, or copy into the directory above',
        details: { path },
      },
    );
  }
  const unpacker = new Unpacker(rooted, target.logical, user, options.keepOwners ?? true);
  const reader = new TarReader(tar, { maxEntries: MAX_ENTRIES });
  try {
    for (let header = await reader.next(); header !== undefined; header = await reader.next()) {
      options.signal?.throwIfAborted();
      await unpacker.entry(header, reader);
    }
    await unpacker.finish();
  } catch (error) {
    throw diskError(error, `copy into ${path}`);
  } finally {
    await reader.close();
  }
}

class Unpacker {
  private readonly rooted: Rooted;
  private readonly base: string;
  private readonly user: Owner;
  private readonly keepOwners: boolean;
  /** Times of directories are set last: what is put into one changes them. */
  private readonly directories: { logical: string; header: TarHeader }[] = [];

  constructor(rooted: Rooted, base: string, user: Owner, keepOwners: boolean) {
    this.rooted = rooted;
    this.base = base;
    this.user = user;
    this.keepOwners = keepOwners;
  }

  async entry(header: TarHeader, reader: TarReader): Promise<void> {
    const components = entryComponents(header.name).map((part) => Buffer.from(part, 'latin1').toString());
    if (components.length === 0) return;
    switch (header.type) {
      case 'directory':
      case 'file':
      case 'symlink':
      case 'link':
      case 'fifo':
        break;
      default:
        throw unsafeEntry(
          header.name,
          'DEVICE_NODE',
          `is a ${header.type}, which is not copied into a container`,
        );
    }
    // Found anew for each entry, with its own handles: an archive of a million files must not hold a million open.
    await using place = await this.rooted.branch();
    const found = await this.place(place, components);
    if (header.type === 'directory') await this.directory(found, header);
    else {
      await makeWay(found, header);
      if (header.type === 'file') await this.file(found, header, reader);
      else if (header.type === 'symlink') await symlink(text(header.linkName), found.path);
      else if (header.type === 'fifo') await makeFifo(found, header.mode);
      else await this.hardLink(place, found, header);
      if (header.type === 'symlink' || header.type === 'fifo') await this.own(found.path, header);
    }
  }

  async finish(): Promise<void> {
    for (const { logical, header } of this.directories.reverse()) {
      await using place = await this.rooted.branch();
      const found = await place.find(logical).catch(() => undefined);
      // The container may have removed it since.
      if (found?.stat?.isDirectory() === true) await lutimes(found.path, header.mtime, header.mtime);
    }
  }

  /** The place of an entry, its missing parents made. Links among them are followed inside the container. */
  private async place(rooted: Rooted, components: readonly string[]): Promise<Found> {
    let logical = this.base;
    for (const parent of components.slice(0, -1)) {
      const found = await rooted.find(`${logical}/${parent}`, { follow: true });
      if (found.stat === undefined) await mkdir(found.path, DEFAULT_DIRECTORY_MODE).catch(ignoreExisting);
      logical = found.logical;
    }
    return await rooted.find(`${logical}/${components.at(-1) ?? ''}`);
  }

  private async directory(found: Found, header: TarHeader): Promise<void> {
    if (found.stat !== undefined && !found.stat.isDirectory()) throw inTheWay(header, 'something else');
    if (found.stat === undefined) await mkdir(found.path, 0o700).catch(ignoreExisting);
    const handle = await open(found.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await handle.chown(...this.ownerOf(header));
      await handle.chmod(header.mode);
    } finally {
      await handle.close();
    }
    this.directories.push({ logical: found.logical, header });
  }

  private async file(found: Found, header: TarHeader, reader: TarReader): Promise<void> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(found.path, flags, 0o600);
    try {
      for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
        await file.writeFile(chunk);
      // Owner before mode: a change of owner takes set-uid bits away.
      await file.chown(...this.ownerOf(header));
      await file.chmod(header.mode);
      await file.utimes(header.mtime, header.mtime);
    } finally {
      await file.close();
    }
  }

  private async hardLink(rooted: Rooted, found: Found, header: TarHeader): Promise<void> {
    const target = entryComponents(header.linkName).map((part) => text(part));
    const source = await rooted.find(`${this.base}/${target.join('/')}`);
    if (source.stat === undefined || source.stat.isDirectory())
      throw unsafeEntry(
        header.name,
        'LINK_ESCAPE',
        `is a hard link to ${header.linkName}, which is not there`,
      );
    await link(source.path, found.path);
  }

  private async own(path: string, header: TarHeader): Promise<void> {
    await lchown(path, ...this.ownerOf(header));
    await lutimes(path, header.mtime, header.mtime);
  }

  private ownerOf(header: TarHeader): [number, number] {
    return this.keepOwners ? [header.uid, header.gid] : [this.user.uid, this.user.gid];
  }
}

/** Takes away what an entry replaces. */
async function makeWay(found: Found, header: TarHeader): Promise<void> {
  if (found.stat === undefined) return;
  if (found.stat.isDirectory()) throw inTheWay(header, 'a directory');
  await unlink(found.path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

async function makeFifo(found: Found, mode: number): Promise<void> {
  const cwd = within(found.directory, '.').replace('/self/', `/${process.pid}/`);
  const { exitCode, stderr } = await run('mkfifo', ['-m', mode.toString(8), '--', found.name], { cwd });
  if (exitCode !== 0) throw new ContainerError('COMMAND_FAILED', `mkfifo failed: ${stderr.trim()}`);
}

function text(binary: string): string {
  return Buffer.from(binary, 'latin1').toString();
}

function ignoreExisting(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}

function inTheWay(header: TarHeader, what: string): ContainerError {
  return new ContainerError(
    'INVALID_ARGUMENT',
    `cannot copy ${header.name}, a ${header.type}: the container has ${what} of this name`,
    { hint: 'remove it in the container first', details: { entry: header.name } },
  );
}
