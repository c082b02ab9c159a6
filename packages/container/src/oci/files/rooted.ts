// Finds paths inside a container's root while its processes move and swap directories: the root is never left.

import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readlink } from 'node:fs/promises';
import { ContainerError, errnoOf } from '../../errors.ts';

// Of open(2); node:fs has no name for it. Such a handle is a place, not a right to read.
const O_PATH = 0o10000000;
const PLACE = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
// As the kernel: more links than this in one path are a loop.
const MAX_LINKS = 40;
const MAX_COMPONENTS = 2048;
// A directory that is swapped for a link just while we look is looked at again, so often.
const MAX_SWAPS = 100;

/** A name in an open directory: what acts on {@link Found.path} acts on exactly this, wherever the directory has moved. */
export interface Found {
  /** The directory. Close it with {@link Rooted}. */
  readonly directory: FileHandle;
  /** The last component; `.` for the root itself. */
  readonly name: string;
  /** For node:fs, and safe as long as the last component is not followed. */
  readonly path: string;
  /** Undefined when there is nothing of this name (all before it exists). */
  readonly stat: Stats | undefined;
  /** Where it is in the container, links resolved. */
  readonly logical: string;
}

/** The path of an open directory's entry for node:fs. The kernel goes from the handle, not from a path. */
export function within(directory: FileHandle, name: string): string {
  return `/proc/self/fd/${directory.fd}/${name}`;
}

interface Level {
  readonly handle: FileHandle;
  readonly name: string;
}

/**
 * Paths below one root, resolved as a process inside would: `..` and absolute links stop at the root.
 *
 * Every directory is opened from its parent's handle, by one name that is not followed; links are read and their text
 * resolved here. So there is no moment at which a link planted by the container can lead out of it. (As runc's
 * `securejoin.OpenInRoot` and `openat2` with RESOLVE_IN_ROOT, which Node does not offer.)
 */
export class Rooted implements AsyncDisposable {
  private readonly root: FileHandle;
  /** Places in the container that are other directories of the host: volumes of a container that is not running. */
  private readonly mounts: ReadonlyMap<string, string>;
  private readonly opened: FileHandle[] = [];

  private constructor(root: FileHandle, mounts: ReadonlyMap<string, string>) {
    this.root = root;
    this.mounts = mounts;
    this.opened.push(root);
  }

  /** Opens the root. It may be a magic link such as /proc/PID/root. */
  static async open(path: string, mounts: ReadonlyMap<string, string> = new Map()): Promise<Rooted> {
    return new Rooted(await open(path, O_PATH | constants.O_DIRECTORY), mounts);
  }

  /** The same root with handles of its own, for work whose handles should not last as long. */
  async branch(): Promise<Rooted> {
    return await Rooted.open(within(this.root, '.'), this.mounts);
  }

  /** The handle of the root. */
  get handle(): FileHandle {
    return this.root;
  }

  /**
   * Finds `path`. A link at its end is followed only when asked, or when the path ends in a slash.
   * Throws `PATH_NOT_FOUND` when something before the last component is missing or no directory.
   */
  async find(path: string, options: { follow?: boolean } = {}): Promise<Found> {
    const follow = options.follow === true || /\/\.?$/.test(path);
    let todo = path.split('/');
    const stack: Level[] = [{ handle: this.root, name: '' }];
    let links = 0;
    let swaps = 0;
    while (todo.length > 0) {
      const [name = '', ...rest] = todo;
      todo = rest;
      if (stack.length + todo.length > MAX_COMPONENTS) throw missing(path, 'it has too many components');
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      const here = top(stack);
      const stat = await lstat(within(here.handle, name)).catch(ignoreMissing);
      const isLast = todo.every((part) => part === '' || part === '.');
      if (stat === undefined && isLast) return this.found(stack, name, undefined);
      if (stat === undefined) throw missing(path, `there is no ${logicalOf(stack, name)}`);
      if (stat.isSymbolicLink() && (!isLast || follow)) {
        links += 1;
        if (links > MAX_LINKS) throw missing(path, 'its links lead in a circle');
        const target = await readlink(within(here.handle, name));
        if (target.startsWith('/')) stack.length = 1;
        todo = [...target.split('/'), ...todo];
      } else if (stat.isDirectory()) {
        const handle = await this.enter(stack, name);
        if (handle !== undefined) stack.push({ handle, name });
        else {
          swaps += 1;
          if (swaps > MAX_SWAPS) throw missing(path, `${logicalOf(stack, name)} does not hold still`);
          todo = [name, ...todo];
        }
      } else if (isLast) return this.found(stack, name, stat);
      else throw missing(path, `${logicalOf(stack, name)} is not a directory`);
    }
    return await this.foundDirectory(stack);
  }

  /** {@link find} for a directory, links followed; its own handle. Throws `PATH_NOT_FOUND`. */
  async directory(path: string): Promise<FileHandle> {
    const found = await this.find(path, { follow: true });
    if (found.stat?.isDirectory() !== true) throw missing(path, 'it is not a directory');
    return found.name === '.' ? found.directory : await this.keep(open(found.path, PLACE));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.opened.splice(0).map((handle) => handle.close()));
  }

  /** Opens a directory by its name; undefined when it has just become something else. */
  private async enter(stack: readonly Level[], name: string): Promise<FileHandle | undefined> {
    const mounted = this.mounts.get(logicalOf(stack, name));
    // A volume is ours: its path on the host is followed as it is.
    if (mounted !== undefined) return await this.keep(open(mounted, O_PATH | constants.O_DIRECTORY));
    try {
      return await this.keep(open(within(top(stack).handle, name), PLACE));
    } catch (error) {
      if (['ENOTDIR', 'ELOOP', 'ENOENT'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  private async keep(opening: Promise<FileHandle>): Promise<FileHandle> {
    const handle = await opening;
    this.opened.push(handle);
    return handle;
  }

  private found(stack: readonly Level[], name: string, stat: Stats | undefined): Found {
    const directory = top(stack).handle;
    return { directory, name, path: within(directory, name), stat, logical: logicalOf(stack, name) };
  }

  /** A directory at the end of a path is told by its own handle: a volume's name in its parent is another directory. */
  private async foundDirectory(stack: readonly Level[]): Promise<Found> {
    const { handle, name } = top(stack);
    const logical = logicalOf(stack.slice(0, -1), name);
    const stat = await lstat(within(handle, '.'));
    const parent = stack.at(-2);
    if (parent === undefined || this.mounts.has(logical))
      return { directory: handle, name: '.', path: within(handle, '.'), stat, logical };
    return { directory: parent.handle, name, path: within(parent.handle, name), stat, logical };
  }
}

function top(stack: readonly Level[]): Level {
  const last = stack.at(-1);
  if (last === undefined) throw new Error('the root is always there');
  return last;
}

function logicalOf(stack: readonly Level[], name: string): string {
  return `/${[...stack.slice(1).map((level) => level.name), name].filter((part) => part !== '').join('/')}`;
}

function ignoreMissing(error: unknown): undefined {
  if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
  throw error;
}

function missing(path: string, why: string): ContainerError {
  return new ContainerError('PATH_NOT_FOUND', `cannot find ${path} in the container: ${why}`, {
    details: { path },
  });
}
