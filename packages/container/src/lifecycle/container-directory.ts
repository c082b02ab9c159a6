// The directory of containers: one subdirectory each with its record, found by id, prefix or name.

import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError, diskError } from '../errors.ts';
import { ensureDirectory, readJson, removeTree, syncDirectory, writeJsonAtomic } from '../system/files.ts';
import { Mutex } from '../system/mutex.ts';
import { type ContainerRecord, parseRecord } from './record.ts';

const RECORD_FILE = 'container.json';
// A short id must be long enough that nobody types one by accident.
const MIN_PREFIX_LENGTH = 12;

/** Whether the container has a main process that must be watched. */
export function isLive(record: ContainerRecord): boolean {
  return record.state === 'created' || record.state === 'running' || record.state === 'paused';
}

/** A container as this process knows it. */
export class Entry {
  readonly record: ContainerRecord;
  readonly mutex: Mutex = new Mutex();
  removed = false;
  /** How often its main process has ended since we know it. */
  exits = 0;
  private readonly waiters = new Set<() => void>();

  constructor(record: ContainerRecord) {
    this.record = record;
  }

  /** Resolves at the next end or removal; rejects with the signal's reason. */
  changed(signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const done = (): void => {
      this.waiters.delete(done);
      signal?.removeEventListener('abort', aborted);
      resolve();
    };
    const aborted = (): void => {
      this.waiters.delete(done);
      reject(signal?.reason);
    };
    this.waiters.add(done);
    signal?.addEventListener('abort', aborted, { once: true });
    return promise;
  }

  /** Wakes everybody who waits for a change. */
  announce(): void {
    for (const wake of [...this.waiters]) wake();
  }
}

/** Finds, saves and removes containers. */
export class ContainerDirectory {
  readonly path: string;
  /** Ids whose record cannot be read, with the reason; they are left alone. */
  readonly damaged: Map<string, unknown> = new Map();
  private readonly entries = new Map<string, Entry>();
  private readonly names = new Map<string, string>();

  private constructor(path: string) {
    this.path = path;
  }

  /** Reads all records below `path`. */
  static async open(path: string): Promise<ContainerDirectory> {
    await ensureDirectory(path);
    const directory = new ContainerDirectory(path);
    for (const id of await readdir(path)) {
      try {
        const file = join(path, id, RECORD_FILE);
        const json = await readJson(file);
        if (json !== undefined) directory.insert(parseRecord(json, file));
      } catch (error) {
        directory.damaged.set(id, error);
      }
    }
    return directory;
  }

  /** Takes the name and makes the directory with its record. Throws `NAME_IN_USE`. */
  async add(record: ContainerRecord): Promise<Entry> {
    this.requireFree(record.name, `create container "${record.name}"`);
    const entry = this.insert(record);
    try {
      await mkdir(this.directory(record.id), { mode: 0o700 });
      // Only our own death can leave a half-made container; after a power cut its directory is a stranger's.
      await this.save(record, { durable: false });
      return entry;
    } catch (error) {
      this.forget(record);
      await removeTree(this.directory(record.id)).catch(() => undefined);
      throw diskError(error, `create container "${record.name}"`);
    }
  }

  /**
   * Replaces the record. One that is not `durable` (default true) survives our death but perhaps not a power cut,
   * after which no container runs anyway.
   */
  async save(record: ContainerRecord, options: { durable?: boolean } = {}): Promise<void> {
    await writeJsonAtomic(join(this.directory(record.id), RECORD_FILE), record, options);
  }

  /** Makes the directories of new containers survive a power cut. */
  async sync(): Promise<void> {
    await syncDirectory(this.path);
  }

  /** Gives a container another name, in memory. Throws `NAME_IN_USE`. */
  rename(record: ContainerRecord, name: string): void {
    this.requireFree(name, `rename container "${record.name}" to "${name}"`);
    this.names.delete(record.name);
    record.name = name;
    this.names.set(name, record.id);
  }

  /** Deletes the files and forgets the container. */
  async remove(entry: Entry): Promise<void> {
    await this.removeFiles(entry.record.id);
    this.forget(entry.record);
  }

  /** Deletes a container's files, its record last: a crash half way is then still seen as a removal to finish. */
  async removeFiles(id: string): Promise<void> {
    const directory = this.directory(id);
    for (const name of await readdir(directory).catch(() => [])) {
      if (name !== RECORD_FILE) await removeTree(join(directory, name));
    }
    await removeTree(join(directory, RECORD_FILE));
    await rmdir(directory).catch(() => undefined);
    await syncDirectory(this.path);
  }

  /** Moves a container with an unreadable record out of the way; returns where to. */
  async setAside(id: string): Promise<string> {
    const target = join(this.path, '..', `damaged-${id}`);
    await rename(this.directory(id), target);
    this.damaged.delete(id);
    return target;
  }

  directory(id: string): string {
    return join(this.path, id);
  }

  logPath(id: string): string {
    return join(this.directory(id), 'log');
  }

  all(): Entry[] {
    return [...this.entries.values()];
  }

  byId(id: string): Entry | undefined {
    return this.entries.get(id);
  }

  /** By name, id, or unique prefix of an id. */
  find(key: string): Entry | undefined {
    const exact = this.entries.get(this.names.get(key) ?? key);
    if (exact !== undefined || key.length < MIN_PREFIX_LENGTH) return exact;
    const matches = this.all().filter(({ record }) => record.id.startsWith(key));
    return matches.length === 1 ? matches[0] : undefined;
  }

  private requireFree(name: string, doing: string): void {
    const holder = this.names.get(name);
    if (holder === undefined) return;
    throw new ContainerError('NAME_IN_USE', `cannot ${doing}: the name is taken by ${holder.slice(0, 12)}`, {
      hint: 'remove that container or choose another name',
      details: { name, holder },
    });
  }

  private insert(record: ContainerRecord): Entry {
    const entry = new Entry(record);
    this.entries.set(record.id, entry);
    this.names.set(record.name, record.id);
    return entry;
  }

  private forget(record: ContainerRecord): void {
    this.entries.delete(record.id);
    if (this.names.get(record.name) === record.id) this.names.delete(record.name);
  }
}
