// Unpacks a tar stream into a container, entry by entry through open directories, so that no planted link leads out.

import { constants } from 'node:fs';
import { lchown, link, lutimes, open, unlink } from 'node:fs/promises';
import type { CopyInOptions } from '@heptad/core';
import { ContainerError, diskError, errnoOf } from '../../errors.ts';
import { unsafeEntry } from '../../image/layer-errors.ts';
import { entryComponents } from '../../image/layer-root.ts';
import type { TarHeader } from '../../image/tar-header.ts';
import { TarReader } from '../../image/tar-reader.ts';
import type { Owner } from './container-ids.ts';
import type { Creator } from './creator.ts';
import type { Found, Rooted } from './rooted.ts';

// More files than any copy by hand; images have their own way in.
const MAX_ENTRIES = 1_000_000;
const DEFAULT_DIRECTORY_MODE = 0o755;

/** Where and as whom it is unpacked. */
export interface Destination {
  readonly rooted: Rooted;
  /** The directory in the container. */
  readonly path: string;
  readonly creator: Creator;
  /** Who owns what comes without an owner of its own. */
  readonly user: Owner;
  /** What to call an owner at a place, links resolved. Throws `INVALID_ARGUMENT` for one that the container cannot have. */
  readonly ownerAt: (logical: string, owner: Owner) => Owner;
}

/** Unpacks `tar`. Throws `PATH_NOT_FOUND`, `INVALID_ARGUMENT`, `UNSAFE_ARCHIVE`, `ARCHIVE_INVALID`. */
export async function copyIn(
  destination: Destination,
  tar: AsyncIterable<Uint8Array>,
  options: CopyInOptions,
): Promise<void> {
  const { rooted, path } = destination;
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
  const unpacker = new Unpacker(destination, target.logical, options.keepOwners ?? true);
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
  private readonly destination: Destination;
  private readonly keepOwners: boolean;
  /** Times of directories are set last: what is put into one changes them. */
  private readonly directories: { logical: string; header: TarHeader }[] = [];

  constructor(destination: Destination, base: string, keepOwners: boolean) {
    this.rooted = destination.rooted;
    this.base = base;
    this.destination = destination;
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
    const { creator } = this.destination;
    // Asked before anything is made.
    const owner = this.ownerOf(found, header);
    if (header.type === 'directory') await this.directory(found, header, owner);
    else {
      await makeWay(found, header);
      if (header.type === 'file') await this.file(found, header, owner, reader);
      else if (header.type === 'symlink') await creator.symlink(found, text(header.linkName));
      else if (header.type === 'fifo') await creator.fifo(found, header.mode);
      else await this.hardLink(place, found, header);
      if (header.type === 'symlink' || header.type === 'fifo') await this.own(found.path, header, owner);
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
      if (found.stat === undefined)
        await this.destination.creator.directory(found, DEFAULT_DIRECTORY_MODE).catch(ignoreExisting);
      logical = found.logical;
    }
    return await rooted.find(`${logical}/${components.at(-1) ?? ''}`);
  }

  private async directory(found: Found, header: TarHeader, owner: Owner): Promise<void> {
    if (found.stat !== undefined && !found.stat.isDirectory()) throw inTheWay(header, 'something else');
    if (found.stat === undefined)
      await this.destination.creator.directory(found, 0o700).catch(ignoreExisting);
    const handle = await open(found.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await handle.chown(owner.uid, owner.gid);
      await handle.chmod(header.mode);
    } finally {
      await handle.close();
    }
    this.directories.push({ logical: found.logical, header });
  }

  private async file(found: Found, header: TarHeader, owner: Owner, reader: TarReader): Promise<void> {
    const file = await this.destination.creator.file(found);
    try {
      for (let chunk = await reader.chunk(); chunk !== undefined; chunk = await reader.chunk())
        await file.writeFile(chunk);
      // Owner before mode: a change of owner takes set-uid bits away.
      await file.chown(owner.uid, owner.gid);
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

  private async own(path: string, header: TarHeader, owner: Owner): Promise<void> {
    await lchown(path, owner.uid, owner.gid);
    await lutimes(path, header.mtime, header.mtime);
  }

  private ownerOf({ logical }: Found, header: TarHeader): Owner {
    const { user, ownerAt } = this.destination;
    return ownerAt(logical, this.keepOwners ? { uid: header.uid, gid: header.gid } : user);
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
