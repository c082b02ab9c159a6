// Lays one layer archive out in a directory of its own: overlayfs whiteouts or plain files, hostile input refused.

import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';
import { invalidEntry, oversizedEntry, unsafeEntry } from './layer-errors.ts';
import type { LayerLimits } from './layer-limits.ts';
import { binaryPath, bytesOf, entryComponents, LayerRoot, look, lowerDirectory } from './layer-root.ts';
import { makeFifo, setXattrs, type WantedXattr } from './privileged-files.ts';
import type { TarHeader } from './tar-header.ts';
import { Whiteouts } from './whiteouts.ts';

/** Where and how a layer is laid out. */
export interface LayerTarget {
  /** An empty directory that nobody else writes. */
  readonly root: string;
  /** `overlay`: deletions become overlayfs whiteouts, owners are kept. `plain`: deletions delete, files are ours. */
  readonly layout: 'overlay' | 'plain';
  /** Directories of the layers below, top first. Asked for only when all entries are laid out. */
  readonly lowers: () => Promise<readonly string[]>;
  readonly limits: LayerLimits;
}

/** What was extracted. */
export interface LayerResult {
  readonly entries: number;
  readonly bytes: number;
  /** Extended attributes that could not be set, or of a kind that a layer may not set. */
  readonly skippedXattrs: number;
}

/** The content of one entry. */
export interface EntryContent {
  /** All of it, when it is at hand. */
  whole(): Uint8Array | undefined;
  /** The next piece; undefined at the end. */
  chunk(): Promise<Uint8Array | undefined>;
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
// trusted.* steers overlayfs itself and security.selinux belongs to the host; a layer may set neither.
const ALLOWED_XATTR = /^(user\..+|security\.capability)$/s;
// A layer of more attributes than this is not one any builder makes.
const MAX_XATTRS = 100_000;
// Each takes a run of mkfifo; real images have none.
const MAX_FIFOS = 64;
// -1 means "leave the owner" to chown(2), and what is above does not fit.
const MAX_OWNER = 2 ** 32 - 2;
// Linux takes paths of this length.
const MAX_PATH_BYTES = 4096;
// The directory gets another name when it is whole; a path that does not fit then could never be removed.
const RENAME_HEADROOM_BYTES = 160;
// What these mean is that the archive asks for something no file system can hold.
const IMPOSSIBLE = new Set([
  'ENAMETOOLONG',
  'ENOTDIR',
  'EISDIR',
  'EEXIST',
  'ELOOP',
  'EINVAL',
  'EMLINK',
  'EOVERFLOW',
  'ENOTEMPTY',
]);

/**
 * Applies the entries of one archive, in order. System calls on names are synchronous: each takes microseconds, while a
 * trip through the thread pool costs ten times as much, and a layer has tens of thousands. Large contents are written
 * asynchronously.
 */
export class LayerExtractor {
  private readonly target: LayerTarget;
  private readonly root: LayerRoot;
  private readonly directoryTimes = new Map<string, number>();
  /** Parents that the archive did not describe. */
  private readonly undescribed = new Map<string, readonly string[]>();
  private readonly whiteouts: Whiteouts;
  private readonly xattrs: WantedXattr[] = [];
  private skippedXattrs = 0;
  private entries = 0;
  private bytes = 0;
  private fifos = 0;

  constructor(target: LayerTarget) {
    this.target = target;
    this.root = new LayerRoot(binaryPath(target.root), (path, components) =>
      this.undescribed.set(path, components),
    );
    this.whiteouts = new Whiteouts(this.root, target.root);
  }

  /** Applies one entry. Throws `UNSAFE_ARCHIVE`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_INVALID`, each naming the entry. */
  async apply(header: TarHeader, content: EntryContent): Promise<void> {
    try {
      await this.applyChecked(header, content);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined || !IMPOSSIBLE.has(errno)) throw error;
      throw invalidEntry(header.name, 'IMPOSSIBLE', `cannot be made: ${errno}`);
    }
  }

  /** Makes whiteouts, extended attributes and directory times, which must come after all entries. */
  async finish(): Promise<LayerResult> {
    if (this.keepsOwners) {
      const lowers = (await this.target.lowers()).map(binaryPath);
      this.adoptFromLowers(lowers);
      await this.whiteouts.make(lowers);
    }
    this.skippedXattrs += await setXattrs(this.xattrs);
    for (const [path, time] of this.directoryTimes) lutimesSync(bytesOf(path), time, time);
    return { entries: this.entries, bytes: this.bytes, skippedXattrs: this.skippedXattrs };
  }

  private async applyChecked(header: TarHeader, content: EntryContent): Promise<void> {
    this.entries += 1;
    this.requireWithinLimits(header);
    const components = entryComponents(header.name);
    const base = components.at(-1);
    if (base === undefined) {
      if (header.type === 'directory') this.setDirectory(this.root.path, header);
      return;
    }
    const parent = this.root.directory(components.slice(0, -1), header.name);
    if (base.startsWith(WHITEOUT)) {
      this.applyWhiteout(parent, base, header.name);
      return;
    }
    const path = `${parent}/${base}`;
    if (path.length > MAX_PATH_BYTES - RENAME_HEADROOM_BYTES)
      throw invalidEntry(header.name, 'IMPOSSIBLE', 'is too deep for the paths of this machine');
    this.clear(path, header.type === 'directory');
    await this.create(path, header, content);
    if (header.xattrs.size > 0) this.collectXattrs(path, header);
  }

  private requireWithinLimits({ name, type, size, uid, gid }: TarHeader): void {
    const { maxBytes } = this.target.limits;
    if (type === 'file') this.bytes += size;
    if (this.bytes > maxBytes)
      throw oversizedEntry(name, 'TOO_MANY_BYTES', `takes the layer over ${maxBytes} bytes`);
    if ([uid, gid].some((id) => id < 0 || id > MAX_OWNER))
      throw unsafeEntry(name, 'BAD_OWNER', `has an impossible owner ${uid}:${gid}`);
  }

  private async create(path: string, header: TarHeader, content: EntryContent): Promise<void> {
    switch (header.type) {
      case 'file': {
        const whole = content.whole();
        if (whole === undefined) await this.createLargeFile(path, header, content);
        else this.createFile(path, header, whole);
        break;
      }
      case 'directory':
        if (look(path) === undefined) mkdirSync(bytesOf(path), { mode: 0o700 });
        this.undescribed.delete(path);
        this.setDirectory(path, header);
        break;
      case 'symlink':
        if (header.linkName === '')
          throw invalidEntry(header.name, 'IMPOSSIBLE', 'is a symbolic link to nothing');
        // Where it leads does not matter: it is only ever followed inside the container, or by LayerRoot.
        symlinkSync(bytesOf(header.linkName), bytesOf(path));
        if (this.keepsOwners) lchownSync(bytesOf(path), header.uid, header.gid);
        lutimesSync(bytesOf(path), header.mtime, header.mtime);
        break;
      case 'link':
        this.createHardLink(path, header);
        break;
      case 'fifo':
        await this.createFifo(path, header);
        break;
      case 'sparse':
        throw invalidEntry(
          header.name,
          'SPARSE',
          'is a sparse file, which the image specification advises against',
        );
      case 'character-device':
      case 'block-device':
        throw unsafeEntry(
          header.name,
          'DEVICE_NODE',
          `is a device (${header.devMajor}:${header.devMinor}), which a layer may not hold`,
        );
      case 'unknown':
        throw invalidEntry(
          header.name,
          'UNKNOWN_TYPE',
          `is of type ${JSON.stringify(header.flag)}, which a layer may not hold`,
        );
    }
  }

  private createFile(path: string, header: TarHeader, content: Uint8Array): void {
    const file = openSync(bytesOf(path), NEW_FILE, 0o600);
    try {
      for (let at = 0; at < content.length; ) at += writeSync(file, content, at);
      if (this.keepsOwners) fchownSync(file, header.uid, header.gid);
      // After chown, which clears set-user-id bits.
      fchmodSync(file, header.mode);
      futimesSync(file, header.mtime, header.mtime);
    } finally {
      closeSync(file);
    }
  }

  private async createLargeFile(path: string, header: TarHeader, content: EntryContent): Promise<void> {
    const file = await open(bytesOf(path), NEW_FILE, 0o600);
    try {
      for (let chunk = await content.chunk(); chunk !== undefined; chunk = await content.chunk())
        await file.appendFile(chunk);
      if (this.keepsOwners) await file.chown(header.uid, header.gid);
      await file.chmod(header.mode);
      await file.utimes(header.mtime, header.mtime);
    } finally {
      await file.close();
    }
  }

  private createHardLink(path: string, header: TarHeader): void {
    const components = entryComponents(header.linkName);
    const base = components.at(-1);
    const refuse = (why: string): Error => unsafeEntry(header.name, 'LINK_ESCAPE', why);
    if (base === undefined) throw refuse('is a hard link to nothing');
    // The target's parents are resolved inside the layer, and link(2) does not follow a final symbolic link.
    const existing = `${this.root.directory(components.slice(0, -1), header.name)}/${base}`;
    const info = look(existing);
    if (info === undefined || info.isDirectory())
      throw refuse(`is a hard link to "${header.linkName}", which is not a file of this layer`);
    linkSync(bytesOf(existing), bytesOf(path));
  }

  private async createFifo(path: string, header: TarHeader): Promise<void> {
    this.fifos += 1;
    if (this.fifos > MAX_FIFOS)
      throw oversizedEntry(header.name, 'TOO_MANY_FIFOS', `is one of more than ${MAX_FIFOS} FIFOs`);
    // Made under a name of ours, because arguments of programs must be text, and file names need not be.
    const temporary = `${this.target.root}-fifo`;
    await makeFifo(temporary);
    renameSync(temporary, bytesOf(path));
    if (this.keepsOwners) chownSync(bytesOf(path), header.uid, header.gid);
    chmodSync(bytesOf(path), header.mode);
    lutimesSync(bytesOf(path), header.mtime, header.mtime);
  }

  private setDirectory(path: string, header: TarHeader): void {
    if (this.keepsOwners) chownSync(bytesOf(path), header.uid, header.gid);
    // Without privilege a directory must stay writable for us, or its entries could not be made.
    chmodSync(bytesOf(path), this.keepsOwners ? header.mode : header.mode | 0o700);
    this.directoryTimes.set(path, header.mtime);
  }

  private get keepsOwners(): boolean {
    return this.target.layout === 'overlay';
  }

  /** Removes what is in the way of an entry; the later of two entries with one name wins. */
  private clear(path: string, directoryMayStay: boolean): void {
    const info = look(path);
    if (info === undefined || (directoryMayStay && info.isDirectory())) return;
    this.removeTree(path, info.isDirectory());
  }

  private removeTree(path: string, isDirectory: boolean): void {
    rmSync(bytesOf(path), { recursive: true, force: true });
    this.root.forget();
    if (this.xattrs.length > 0) retain(this.xattrs, (each) => !isAtOrBelow(each.path, path));
    if (!isDirectory) return;
    for (const map of [this.directoryTimes, this.undescribed])
      for (const known of map.keys()) if (isAtOrBelow(known, path)) map.delete(known);
  }

  /** A parent that only a lower layer describes keeps that layer's owner and mode, for ours covers it. */
  private adoptFromLowers(lowers: readonly string[]): void {
    for (const [path, components] of this.undescribed) {
      for (const lower of lowers) {
        const info = lowerDirectory(lower, components);
        if (info === undefined) continue;
        if (info.isDirectory()) {
          chownSync(bytesOf(path), info.uid, info.gid);
          chmodSync(bytesOf(path), info.mode & 0o7777);
          this.directoryTimes.set(path, info.mtimeMs / 1000);
        }
        break;
      }
    }
  }

  private applyWhiteout(parent: string, base: string, name: string): void {
    if (base === OPAQUE) {
      if (this.keepsOwners) this.whiteouts.hideAllBelow(parent);
      else
        throw unsafeEntry(
          name,
          'BAD_WHITEOUT',
          'marks a directory opaque, which a single extracted layer cannot express',
        );
      return;
    }
    // Names starting with ".wh..wh." are bookkeeping of aufs without meaning for others.
    if (base.startsWith('.wh..wh.')) return;
    const hidden = base.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..')
      throw unsafeEntry(name, 'BAD_WHITEOUT', 'is a whiteout of nothing');
    const path = `${parent}/${hidden}`;
    if (this.keepsOwners) this.whiteouts.hide(path);
    else this.removeTree(path, true);
  }

  private collectXattrs(path: string, header: TarHeader): void {
    for (const [name, value] of header.xattrs) {
      if (ALLOWED_XATTR.test(name) && this.xattrs.length < MAX_XATTRS)
        this.xattrs.push({ path, name, value });
      else this.skippedXattrs += 1;
    }
  }
}

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

function isAtOrBelow(path: string, top: string): boolean {
  return path === top || path.startsWith(`${top}/`);
}

function retain<T>(list: T[], keep: (each: T) => boolean): void {
  const kept = list.filter(keep);
  list.length = 0;
  for (const each of kept) list.push(each);
}
