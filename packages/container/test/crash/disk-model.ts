// What a disk holds after a power cut, from the journal of what was done: names and bytes that were not synced may be lost.
//
// The rules are those POSIX gives and no more: fsync of a file keeps its bytes, fsync of a directory keeps the names in
// it, syncfs keeps everything. A rename is atomic. What was not synced is lost, or there, each change for itself: more
// than any real file system would reorder, so that what survives here survives there.

import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { JournalEntry } from './interposer.ts';

type Inode =
  | { kind: 'directory'; entries: Map<string, Inode>; durable: Map<string, Inode> }
  | { kind: 'file'; bytes: Buffer; durable: Buffer }
  | { kind: 'symlink'; target: string }
  | { kind: 'special' };

type Directory = Extract<Inode, { kind: 'directory' }>;
/** One change of names that happens as a whole or not at all. */
type Change = { directory: Directory; name: string; to: Inode | undefined }[];

/** Whether a change of names that was not synced has reached the disk; and what of a file's unsynced bytes. */
export interface Cut {
  keeps(): boolean;
  bytes(durable: Buffer, written: Buffer): Buffer;
}

/** Nothing that was not synced. */
export const NOTHING_UNSYNCED: Cut = { keeps: () => false, bytes: (durable) => durable };
/** All names, and of files only what was synced: what delayed allocation gives. */
export const NAMES_WITHOUT_BYTES: Cut = { keeps: () => true, bytes: (durable) => durable };
/** Everything: a kill of the process alone. */
export const EVERYTHING: Cut = { keeps: () => true, bytes: (_durable, written) => written };

/** Each unsynced change for itself; lengths without bytes too. */
export function someOf(random: () => number): Cut {
  return {
    keeps: () => random() < 0.5,
    bytes: (durable, written) => {
      // What was synced stays, unless the file was cut shorter since; what was appended may be there, in part, or as zeros.
      const kept = durable.length > written.length ? (random() < 0.5 ? durable : written) : durable;
      const late = written.subarray(kept.length);
      const roll = random();
      if (roll < 0.3) return kept;
      if (roll < 0.6) return Buffer.concat([kept, late.subarray(0, Math.floor(random() * late.length))]);
      return Buffer.concat([kept, roll < 0.8 ? late : Buffer.alloc(late.length)]);
    },
  };
}

function directory(): Directory {
  return { kind: 'directory', entries: new Map(), durable: new Map() };
}

/** A disk, from what lies below `root` now, to which a journal is applied step by step. */
export class DiskModel {
  private readonly root: string;
  private readonly top: Directory;
  private pending: Change[] = [];

  constructor(root: string) {
    this.root = root;
    this.top = load(root) as Directory;
  }

  apply(entry: JournalEntry): void {
    const change = this.changeOf(entry);
    if (change !== undefined) this.change(change);
    else if (entry.op === 'append' || entry.op === 'truncate') this.write(entry);
    else if (entry.op === 'syncPath') this.sync(this.find(entry.path));
    else if (entry.op === 'syncFs') this.syncAll(this.top);
  }

  /** Writes what a cut of power leaves to an empty directory. */
  writeTo(target: string, cut: Cut): void {
    const kept = this.pending.filter(() => cut.keeps());
    const late = new Map<Directory, Map<string, Inode | undefined>>();
    for (const { directory: where, name, to } of kept.flat()) {
      const changes = late.get(where) ?? new Map<string, Inode | undefined>();
      late.set(where, changes.set(name, to));
    }
    const write = (inode: Inode, path: string): void => {
      if (inode.kind === 'file') writeFileSync(path, cut.bytes(inode.durable, inode.bytes));
      else if (inode.kind === 'symlink') symlinkSync(inode.target, path);
      else if (inode.kind === 'special') writeFileSync(path, '');
      else {
        if (path !== target) mkdirSync(path);
        const names = new Map<string, Inode | undefined>(inode.durable);
        for (const [name, to] of late.get(inode) ?? []) names.set(name, to);
        for (const [name, child] of names) if (child !== undefined) write(child, join(path, name));
      }
    };
    write(this.top, target);
  }

  /** What an entry does to names; undefined when it does nothing to them. */
  private changeOf(entry: JournalEntry): Change | undefined {
    switch (entry.op) {
      case 'create':
        return [this.slot(entry.path, { kind: 'file', bytes: Buffer.alloc(0), durable: Buffer.alloc(0) })];
      case 'mkdir':
        return [this.slot(entry.path, directory())];
      case 'special':
        return [this.slot(entry.path, { kind: 'special' })];
      case 'symlink':
        return [this.slot(entry.path, { kind: 'symlink', target: entry.target })];
      case 'unlink':
      case 'rmdir':
        return [this.slot(entry.path, undefined)];
      case 'link':
        return [this.slot(entry.to, this.find(entry.from))];
      case 'rename':
        return [this.slot(entry.to, this.find(entry.from)), this.slot(entry.from, undefined)];
      default:
        return undefined;
    }
  }

  private write(entry: Extract<JournalEntry, { op: 'append' | 'truncate' }>): void {
    const file = this.find(entry.file);
    if (file?.kind !== 'file') throw new Error(`${entry.file} is no file of the model`);
    file.bytes =
      entry.op === 'append'
        ? Buffer.concat([file.bytes, Buffer.from(entry.data, 'base64')])
        : file.bytes.subarray(0, entry.length);
  }

  private slot(path: string, to: Inode | undefined): Change[number] {
    const parent = this.find(dirname(path));
    if (parent?.kind !== 'directory') throw new Error(`${dirname(path)} is no directory of the model`);
    return { directory: parent, name: basename(path), to };
  }

  private change(change: Change): void {
    for (const { directory: where, name, to } of change) {
      if (to === undefined) where.entries.delete(name);
      else where.entries.set(name, to);
    }
    this.pending.push(change);
  }

  private sync(inode: Inode | undefined): void {
    if (inode?.kind === 'file') inode.durable = inode.bytes;
    if (inode?.kind !== 'directory') return;
    // A rename that leads here is durable here and where it came from.
    const settled = this.pending.filter((change) => change.some((part) => part.directory === inode));
    this.pending = this.pending.filter((change) => !settled.includes(change));
    for (const { directory: where, name, to } of settled.flat()) {
      if (to === undefined) where.durable.delete(name);
      else where.durable.set(name, to);
    }
  }

  private syncAll(inode: Inode): void {
    if (inode.kind === 'file') inode.durable = inode.bytes;
    if (inode.kind !== 'directory') return;
    inode.durable = new Map(inode.entries);
    this.pending = [];
    for (const child of inode.entries.values()) this.syncAll(child);
  }

  private find(path: string): Inode | undefined {
    let inode: Inode | undefined = this.top;
    for (const name of path.slice(this.root.length).split('/').filter(Boolean))
      inode = inode?.kind === 'directory' ? inode.entries.get(name) : undefined;
    return inode;
  }
}

/** What lies on this machine's disk, all of it durable. */
function load(path: string): Inode {
  const info = lstatSync(path);
  if (info.isSymbolicLink()) return { kind: 'symlink', target: readlinkSync(path) };
  if (info.isFile()) {
    const bytes = readFileSync(path);
    return { kind: 'file', bytes, durable: bytes };
  }
  if (!info.isDirectory()) return { kind: 'special' };
  const found = directory();
  for (const name of readdirSync(path)) found.entries.set(name, load(join(path, name)));
  found.durable = new Map(found.entries);
  return found;
}
