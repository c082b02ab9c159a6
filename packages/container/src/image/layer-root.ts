// The directory a layer is laid out in: names are cleaned, parents are walked component by component, nothing leaves it.

import { lstatSync, mkdirSync, readlinkSync, type Stats } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { invalidEntry, unsafeEntry } from './layer-errors.ts';

const MAX_PATH_BYTES = 4096;
const MAX_COMPONENT_BYTES = 255;
// The kernel follows at most 40 symbolic links in one path.
const MAX_SYMLINK_HOPS = 40;
// Known parents are forgotten beyond this many: a cache must not grow with a hostile archive.
const MAX_KNOWN_DIRECTORIES = 50_000;

/** A path as a binary string (one character per byte) for node:fs, so that names that are no text stay as they are. */
export function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** A path of this machine as a binary string. */
export function binaryPath(path: string): string {
  return Buffer.from(path, 'utf8').toString('latin1');
}

/** The components of an entry's name below the root; [] is the root itself. Throws `UNSAFE_ARCHIVE`. */
export function entryComponents(name: string): string[] {
  if (name.includes('\0')) throw unsafeEntry(name, 'BAD_NAME', 'has a zero byte in its name');
  if (name.length > MAX_PATH_BYTES)
    throw unsafeEntry(name, 'BAD_NAME', `has a name over ${MAX_PATH_BYTES} bytes`);
  const components = name.split('/').filter((part) => part !== '' && part !== '.');
  if (components.includes('..')) throw unsafeEntry(name, 'PATH_ESCAPE', 'leads out of the layer with ".."');
  if (components.some((part) => part.length > MAX_COMPONENT_BYTES))
    throw unsafeEntry(name, 'BAD_NAME', `has a component over ${MAX_COMPONENT_BYTES} bytes`);
  return components;
}

/** The file or undefined; never follows a link at the end. */
export function look(path: string): Stats | undefined {
  // ENOTDIR means as much as ENOENT here: there is nothing of this name.
  try {
    return lstatSync(bytesOf(path), { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Called for each directory that had to be made because an entry's parent was not in the archive. */
export type DirectoryMade = (path: string, components: readonly string[]) => void;

/** Directories below one root. The tree must not be written by others meanwhile: only we know it. */
export class LayerRoot {
  /** A binary string. */
  readonly path: string;
  private readonly made: DirectoryMade;
  private readonly known = new Map<string, string>();

  constructor(path: string, made: DirectoryMade) {
    this.path = path;
    this.made = made;
  }

  /**
   * The real directory that `components` lead to as a process inside would see it: symbolic links are followed, and
   * absolute ones start at the root. One that climbs above the root is refused. Missing directories are made.
   */
  directory(components: readonly string[], entry: string): string {
    const key = components.join('/');
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const path = [this.path, ...this.resolve(components, entry)].join('/');
    if (this.known.size >= MAX_KNOWN_DIRECTORIES) this.known.clear();
    this.known.set(key, path);
    return path;
  }

  /** After something was removed or replaced, what is known of paths may be wrong. */
  forget(): void {
    this.known.clear();
  }

  /** The components of a path that {@link directory} answered. */
  componentsOf(path: string): string[] {
    return path
      .slice(this.path.length)
      .split('/')
      .filter((part) => part !== '');
  }

  private resolve(components: readonly string[], entry: string): string[] {
    const pending = [...components];
    const resolved: string[] = [];
    let hops = 0;
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      if (next === '..') {
        // The name itself has none: this one is of a link.
        if (resolved.pop() === undefined)
          throw unsafeEntry(
            entry,
            'LINK_ESCAPE',
            'passes through a symbolic link that climbs out of the layer',
          );
        continue;
      }
      const path = [this.path, ...resolved, next].join('/');
      const info = look(path);
      if (info?.isSymbolicLink() === true) {
        hops += 1;
        if (hops > MAX_SYMLINK_HOPS)
          throw unsafeEntry(entry, 'SYMLINK_LOOP', 'passes through a loop of symbolic links');
        const target = readlinkSync(bytesOf(path), 'latin1');
        if (target.startsWith('/')) resolved.length = 0;
        pending.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
        continue;
      }
      if (info !== undefined && !info.isDirectory())
        throw invalidEntry(entry, 'PARENT_NOT_DIRECTORY', `has a parent "${next}" that is not a directory`);
      resolved.push(next);
      if (info !== undefined) continue;
      mkdirSync(bytesOf(path), { mode: 0o755 });
      this.made(path, [...resolved]);
    }
    return resolved;
  }
}

/**
 * What a directory of a stack shows: looks at layers below, top first, one real directory after the other. A symbolic
 * link that a lower layer planted is never followed: it would lead to the host.
 */
export function lowerDirectory(lower: string, components: readonly string[]): Stats | undefined {
  let path = lower;
  let info = look(path);
  for (const component of components) {
    if (info === undefined || !info.isDirectory()) return undefined;
    path = `${path}/${component}`;
    info = look(path);
  }
  return info;
}
