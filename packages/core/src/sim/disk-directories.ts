// The directory entries of a SimDisk: as they look now, and as they would after power loss.

import { posix } from 'node:path';
import { HeptadError } from '../errors.ts';

type Entry<File> = { readonly file: File } | 'directory';

/** One change of a directory's entries. */
interface Change<File> {
  readonly path: string;
  /** What the name stands for from then on; none: it is gone. */
  readonly entry: Entry<File> | undefined;
  /** A rename takes both names at once: this one goes. */
  readonly goes?: string;
}

/** Names and what they stand for. Changes of a directory become durable in their order, each whole. */
export class SimDirectories<File> {
  #now = new Map<string, Entry<File>>([['/', 'directory']]);
  #durable = new Map<string, Entry<File>>([['/', 'directory']]);
  /** Directory -> its changes since it was last synced. */
  readonly #pending = new Map<string, Change<File>[]>();

  file(path: string): File | undefined {
    const entry = this.#now.get(posix.resolve('/', path));
    return entry === undefined || entry === 'directory' ? undefined : entry.file;
  }

  isDirectory(path: string): boolean {
    return this.#now.get(posix.resolve('/', path)) === 'directory';
  }

  /** All files there are. */
  files(): File[] {
    return [
      ...new Set([...this.#now.values()].flatMap((entry) => (entry === 'directory' ? [] : [entry.file]))),
    ];
  }

  list(path: string): string[] {
    const directory = posix.resolve('/', path);
    return [...this.#now.keys()]
      .filter((name) => name !== '/' && posix.dirname(name) === directory)
      .map((name) => posix.basename(name))
      .sort();
  }

  create(path: string, file: File): void {
    this.#change({ path: posix.resolve('/', path), entry: { file } });
  }

  makeDirectory(path: string): void {
    const full = posix.resolve('/', path);
    if (this.isDirectory(full)) return;
    const parent = posix.dirname(full);
    if (!this.isDirectory(parent)) this.makeDirectory(parent);
    this.#change({ path: full, entry: 'directory' });
  }

  rename(from: string, to: string): void {
    const goes = posix.resolve('/', from);
    this.#change({ path: posix.resolve('/', to), entry: this.#now.get(goes), goes });
  }

  remove(path: string): void {
    this.#change({ path: posix.resolve('/', path), entry: undefined });
  }

  #change(change: Change<File>): void {
    const directory = posix.dirname(change.path);
    if (!this.isDirectory(directory)) {
      throw new HeptadError('FILE_NOT_FOUND', `cannot change ${change.path}: its directory does not exist`);
    }
    apply(this.#now, change);
    const changes = this.#pending.get(directory) ?? [];
    changes.push(change);
    this.#pending.set(directory, changes);
  }

  /** Makes the changes of a directory durable. */
  sync(path: string): void {
    const directory = posix.resolve('/', path);
    for (const change of this.#pending.get(directory) ?? []) apply(this.#durable, change);
    this.#pending.delete(directory);
  }

  /** Power loss: of each directory's unsynced changes the first `keep(count)` survive. */
  crash(keep: (count: number) => number): void {
    for (const changes of this.#pending.values()) {
      for (const change of changes.slice(0, keep(changes.length))) apply(this.#durable, change);
    }
    this.#pending.clear();
    // An entry whose directory did not survive is lost with it.
    const alive = (path: string): boolean =>
      path === '/' || (this.#durable.get(posix.dirname(path)) === 'directory' && alive(posix.dirname(path)));
    this.#durable = new Map([...this.#durable].filter(([path]) => alive(path)));
    this.#now = new Map(this.#durable);
  }
}

function apply<File>(entries: Map<string, Entry<File>>, change: Change<File>): void {
  if (change.goes !== undefined) entries.delete(change.goes);
  if (change.entry === undefined) entries.delete(change.path);
  else entries.set(change.path, change.entry);
}
