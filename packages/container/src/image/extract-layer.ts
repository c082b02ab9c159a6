// Extracts one layer archive into a directory of its own: overlayfs whiteouts or plain files, hostile input refused.

import { constants } from 'node:fs';
import { chmod, chown, lchown, link, lstat, lutimes, mkdir, open, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Header } from 'tar-stream';
import { errnoOf } from '../errors.ts';
import { runOrThrow } from '../system/command.ts';
import { removeTree } from '../system/files.ts';
import { directoryInside, entryComponents, unsafeEntry } from './layer-paths.ts';
import { XattrSet } from './xattrs.ts';

/** How far one layer may go; each number is far above what real images hold. */
export interface LayerLimits {
  /** Bytes of all files together. Default 16 GiB. */
  readonly maxBytes: number;
  /** Entries. Default one million. */
  readonly maxEntries: number;
}

export const DEFAULT_LAYER_LIMITS: LayerLimits = { maxBytes: 16 * 1024 ** 3, maxEntries: 1_000_000 };

/** Where and how a layer is laid out. */
export interface LayerTarget {
  /** An empty directory that nobody else writes. */
  readonly root: string;
  /** `overlay`: deletions become overlayfs whiteouts, owners are kept. `plain`: deletions delete, files are ours. */
  readonly layout: 'overlay' | 'plain';
  /** Directories of the layers below, top first. */
  readonly lowers: readonly string[];
  readonly limits: LayerLimits;
}

/** What was extracted. */
export interface LayerResult {
  readonly entries: number;
  readonly bytes: number;
  /** Extended attributes that could not be set (no `setfattr` here, or a kind that a layer may not set). */
  readonly skippedXattrs: number;
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const PERMISSION_BITS = 0o7777;

/** Applies the entries of one archive, in order. */
export class LayerExtractor {
  private readonly target: LayerTarget;
  private readonly xattrs: XattrSet;
  private readonly knownDirectories = new Map<string, string>();
  private readonly directoryTimes = new Map<string, Date>();
  // Names this layer brought itself: an opaque mark hides what is below it, not what came with it.
  private readonly whiteouts: string[] = [];
  private readonly opaque: string[][] = [];
  private entries = 0;
  private bytes = 0;

  constructor(target: LayerTarget) {
    this.target = target;
    this.xattrs = new XattrSet(target.root);
  }

  /** Applies one entry, reading its content from `content`. */
  async apply(header: Header, content: Readable): Promise<void> {
    this.entries += 1;
    const { maxBytes, maxEntries } = this.target.limits;
    if (this.entries > maxEntries)
      throw unsafeEntry(header.name, `is one of more than ${maxEntries} entries`);
    const size = header.size ?? 0;
    if (header.type === 'file' || header.type === 'contiguous-file') this.bytes += size;
    if (this.bytes > maxBytes) throw unsafeEntry(header.name, `takes the layer over ${maxBytes} bytes`);
    const components = entryComponents(header.name);
    const base = components.at(-1);
    if (base === undefined) {
      if (header.type === 'directory') await this.setAttributes(this.target.root, header, true);
      return;
    }
    const parent = await this.directory(components.slice(0, -1));
    if (base.startsWith(WHITEOUT)) {
      await this.applyWhiteout(parent, base, header.name);
      return;
    }
    const path = join(parent, base);
    await this.clear(path, header.type === 'directory');
    await this.create(path, header, content);
  }

  /** Makes whiteouts, extended attributes and directory times, which must come after all entries. */
  async finish(): Promise<LayerResult> {
    for (const components of this.opaque) await this.hideLower(components);
    await this.makeWhiteouts();
    const skippedXattrs = await this.xattrs.apply();
    for (const [path, time] of this.directoryTimes) await lutimes(path, time, time);
    return { entries: this.entries, bytes: this.bytes, skippedXattrs };
  }

  private async create(path: string, header: Header, content: Readable): Promise<void> {
    switch (header.type) {
      case 'file':
      case 'contiguous-file':
        await this.createFile(path, header, content);
        break;
      case 'directory':
        await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
          if (errnoOf(error) !== 'EEXIST') throw error;
        });
        await this.setAttributes(path, header, true);
        break;
      case 'symlink':
        if (!header.linkname) throw unsafeEntry(header.name, 'is a symbolic link to nothing');
        // Where it leads does not matter: it is only ever followed inside the container, or by directoryInside.
        await symlink(header.linkname, path);
        if (this.keepsOwners) await lchown(path, header.uid ?? 0, header.gid ?? 0);
        if (header.mtime) await lutimes(path, header.mtime, header.mtime);
        break;
      case 'link':
        await this.createHardLink(path, header);
        break;
      case 'fifo':
        await runOrThrow('mkfifo', ['-m', '600', '--', path]);
        await this.setAttributes(path, header, false);
        break;
      default:
        throw unsafeEntry(
          header.name,
          `is a ${header.type ?? 'thing of unknown type'}, which a layer may not hold`,
        );
    }
    this.xattrs.collect(path, header);
  }

  private async createFile(path: string, header: Header, content: Readable): Promise<void> {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      for await (const chunk of content) await file.appendFile(chunk);
      if (this.keepsOwners) await file.chown(header.uid ?? 0, header.gid ?? 0);
      // After chown, which clears set-user-id bits.
      await file.chmod((header.mode ?? 0o644) & PERMISSION_BITS);
      if (header.mtime) await file.utimes(header.mtime, header.mtime);
    } finally {
      await file.close();
    }
  }

  private async createHardLink(path: string, header: Header): Promise<void> {
    const components = entryComponents(header.linkname ?? '');
    const base = components.at(-1);
    if (base === undefined) throw unsafeEntry(header.name, 'is a hard link to nothing');
    // The target's parents are resolved inside the layer, and link(2) does not follow a final symbolic link.
    const existing = join(await this.directory(components.slice(0, -1)), base);
    const info = await lstat(existing).catch(() => undefined);
    if (info === undefined || info.isDirectory()) {
      throw unsafeEntry(
        header.name,
        `is a hard link to "${header.linkname}", which is not a file of this layer`,
      );
    }
    await link(existing, path);
  }

  private async setAttributes(path: string, header: Header, isDirectory: boolean): Promise<void> {
    if (this.keepsOwners) await chown(path, header.uid ?? 0, header.gid ?? 0);
    // Without privilege a directory must stay writable for us, or its entries could not be made.
    const mode = (header.mode ?? 0o755) & PERMISSION_BITS;
    await chmod(path, this.keepsOwners || !isDirectory ? mode : mode | 0o700);
    if (!header.mtime) return;
    if (isDirectory) this.directoryTimes.set(path, header.mtime);
    else await lutimes(path, header.mtime, header.mtime);
  }

  private get keepsOwners(): boolean {
    return this.target.layout === 'overlay';
  }

  /** Removes what is in the way of an entry; the later of two entries with one name wins. */
  private async clear(path: string, directoryMayStay: boolean): Promise<void> {
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined || (directoryMayStay && info.isDirectory())) return;
    await removeTree(path);
    this.knownDirectories.clear();
    for (const known of this.directoryTimes.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.directoryTimes.delete(known);
    }
  }

  /** The real directory of an entry's parent, made when it is not there. */
  private async directory(components: readonly string[]): Promise<string> {
    const key = components.join('/');
    const known = this.knownDirectories.get(key);
    if (known !== undefined) return known;
    const resolved = await directoryInside(this.target.root, components, (path, made) =>
      this.adoptFromLower(path, made),
    );
    const path = join(this.target.root, ...resolved);
    this.knownDirectories.set(key, path);
    return path;
  }

  /** A parent that only a lower layer describes keeps that layer's owner and mode, for ours covers it. */
  private async adoptFromLower(path: string, components: readonly string[]): Promise<void> {
    if (!this.keepsOwners) return;
    for (const lower of this.target.lowers) {
      const info = await lstat(join(lower, ...components)).catch(() => undefined);
      if (info === undefined) continue;
      if (info.isDirectory()) {
        await chown(path, info.uid, info.gid);
        await chmod(path, info.mode & PERMISSION_BITS);
        this.directoryTimes.set(path, info.mtime);
      }
      return;
    }
  }

  private async applyWhiteout(parent: string, base: string, name: string): Promise<void> {
    if (base === OPAQUE) {
      if (this.target.layout === 'overlay') this.opaque.push(this.componentsOf(parent));
      else throw unsafeEntry(name, 'marks a directory opaque, which a single extracted layer cannot express');
      return;
    }
    // Names starting with ".wh..wh." are bookkeeping of aufs without meaning for others.
    if (base.startsWith('.wh..wh.')) return;
    const hidden = base.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..')
      throw unsafeEntry(name, 'is a whiteout of nothing');
    const path = join(parent, hidden);
    if (this.target.layout === 'plain') await removeTree(path);
    else this.whiteouts.push(path);
  }

  private componentsOf(path: string): string[] {
    return path
      .slice(this.target.root.length)
      .split('/')
      .filter((part) => part !== '');
  }

  /**
   * Spells an opaque directory as one whiteout for each name it has below. Node cannot set the overlayfs attribute,
   * and since a snapshot's parents never change, the list can never become too short.
   */
  private async hideLower(components: readonly string[]): Promise<void> {
    for (const name of await this.namesBelow(components)) {
      const own = await lstat(join(this.target.root, ...components, name)).catch(() => undefined);
      // Two directories of one name would be merged, so what the lower one holds is hidden name by name as well.
      if (own?.isDirectory() === true) await this.hideLower([...components, name]);
      else if (own === undefined) this.whiteouts.push(join(this.target.root, ...components, name));
    }
  }

  /** The names that the layers below show in a directory. */
  private async namesBelow(components: readonly string[]): Promise<Set<string>> {
    const shown = new Set<string>();
    const hidden = new Set<string>();
    for (const lower of this.target.lowers) {
      const path = join(lower, ...components);
      const info = await lstat(path).catch(() => undefined);
      if (info === undefined) continue;
      // Anything but a directory covers what is further below.
      if (!info.isDirectory()) break;
      for (const name of await readdir(path)) {
        if (isWhiteout(await lstat(join(path, name)))) hidden.add(name);
        else if (!hidden.has(name)) shown.add(name);
      }
    }
    return shown;
  }

  private async makeWhiteouts(): Promise<void> {
    let first: string | undefined;
    for (const path of new Set(this.whiteouts)) {
      const info = await lstat(path).catch(() => undefined);
      // The layer deleted a name and then gave it anew: the new entry covers the lower one by itself, unless both are
      // directories, which only an opaque mark (handled above) would separate.
      if (info !== undefined) continue;
      if (first === undefined) {
        // Node has no mknod; further whiteouts are hard links to the first, as the kernel itself makes them.
        await runOrThrow('mknod', ['--', path, 'c', '0', '0']);
        first = path;
      } else {
        await link(first, path);
      }
    }
  }
}

/** Whether a file is overlayfs's mark for a deleted name: a character device 0:0. */
export function isWhiteout(info: { isCharacterDevice(): boolean; readonly rdev: number }): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}
