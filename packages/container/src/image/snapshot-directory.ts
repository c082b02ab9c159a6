// Where snapshots lie: directories that appear and vanish as a whole, and the short links that mount options use.

import { readdir, readlink, rename, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, removeTree, syncDirectory } from '../system/files.ts';
import { KernelMutex, lockName } from '../system/kernel-lock.ts';
import { identify } from '../system/processes.ts';
import { directoryName } from './snapshot-info.ts';

// 127 layers of this and a colon are 1651 bytes of mount options.
const LINK_LENGTH = 12;
// What the path of a store may take of the 4096 bytes of mount options: upper and work directory hold it twice.
const MAX_STORE_PATH_BYTES = 1_000;
const DIRECTORY = /^[0-9a-f]{64}$/;
const TEMPORARY = /^tmp-(\d+)-(\d+)-\d+$/;
// Tells our temporary directories from those of an earlier process with our pid.
const OWN_START_TIME = identify(process.pid)?.startTime ?? '0';
// Distinguishes temporary directories within this process.
let temporaryCounter = 0;

/** The directories of a {@link Snapshotter}. */
export class SnapshotDirectory {
  readonly path: string;
  /** Keeps other processes from making, naming and removing snapshots meanwhile. */
  readonly mutex: KernelMutex;

  private constructor(path: string, mutex: KernelMutex) {
    this.path = path;
    this.mutex = mutex;
  }

  static async open(path: string): Promise<SnapshotDirectory> {
    if (/[:,\\\s]/.test(path) || Buffer.byteLength(path) > MAX_STORE_PATH_BYTES) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot keep images in ${path.slice(0, 300)}: overlayfs options cannot hold ":", ",", "\\", spaces or very long paths`,
        {
          hint: 'choose a home directory without these characters',
        },
      );
    }
    await ensureDirectory(join(path, 'l'));
    return new SnapshotDirectory(path, new KernelMutex(await lockName(path, 'snapshots')));
  }

  /** Directory of the links, relative to which mount options name layers. */
  get links(): string {
    return join(this.path, 'l');
  }

  of(name: string): string {
    return join(this.path, directoryName(name));
  }

  fs(name: string): string {
    return join(this.of(name), 'fs');
  }

  /** A name for a directory that is not yet, or no longer, a snapshot. */
  temporary(): string {
    temporaryCounter += 1;
    return join(this.path, `tmp-${process.pid}-${OWN_START_TIME}-${temporaryCounter}`);
  }

  /** One syncfs instead of an fsync per file: a name must never lead to empty files after a power cut. */
  async makeDurable(directory: string): Promise<void> {
    await runOrThrow('sync', ['-f', directory], { timeoutMs: 300_000 });
  }

  /** Gives a whole and durable directory its name, and a committed one its link first. Throws `ALREADY_EXISTS`. */
  async publish(directory: string, name: string, link?: string): Promise<void> {
    if (link !== undefined) await this.makeLink(link, name);
    try {
      await rename(directory, this.of(name));
    } catch (error) {
      if (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST') throw alreadyExists(name);
      throw error;
    }
    await syncDirectory(this.path);
  }

  /** Takes snapshots away, whatever state they are in. */
  async drop(names: readonly string[]): Promise<void> {
    const doomed: string[] = [];
    for (const name of names) {
      const temporary = this.temporary();
      // Renamed first: a crash half way must not leave a snapshot that looks whole.
      await rename(this.of(name), temporary).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw diskError(error, `remove snapshot ${name}`);
      });
      doomed.push(temporary);
    }
    await syncDirectory(this.path);
    // The links last: a snapshot that came back after a power cut must not have lost its own.
    for (const name of names) await this.removeLinkTo(directoryName(name));
    for (const temporary of doomed) await removeTree(temporary);
  }

  /** Names of the directories that hold snapshots, whole and damaged ones. */
  async list(): Promise<string[]> {
    return (await readdir(this.path)).filter((name) => DIRECTORY.test(name));
  }

  /** Deletes what processes that are gone left half made or half removed; returns how much. */
  async cleanup(): Promise<number> {
    let deleted = 0;
    for (const name of await readdir(this.path)) {
      const [, pid, startTime] = TEMPORARY.exec(name) ?? [];
      if (pid === undefined || identify(Number(pid))?.startTime === startTime) continue;
      await removeTree(join(this.path, name));
      deleted += 1;
    }
    return deleted + (await this.mutex.run(() => this.deleteDanglingLinks()));
  }

  /** A short name for the link of a snapshot to be published. */
  async chooseLink(name: string): Promise<string> {
    const hex = directoryName(name);
    for (let length = LINK_LENGTH; length <= hex.length; length += 1) {
      const short = hex.slice(0, length);
      if ((await this.leadsTo(short, hex)) !== false) return short;
    }
    throw new ContainerError('STORE_CORRUPT', `cannot name snapshot ${name}: every short name is taken`);
  }

  /** Whether a link leads to this snapshot; undefined when there is no such link. */
  async leadsTo(link: string, hex: string): Promise<boolean | undefined> {
    try {
      return (await readlink(join(this.links, link))) === join('..', hex, 'fs');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      if (errnoOf(error) === 'EINVAL') return false;
      throw error;
    }
  }

  private async makeLink(link: string, name: string): Promise<void> {
    const hex = directoryName(name);
    if ((await this.leadsTo(link, hex)) === true) return;
    await symlink(join('..', hex, 'fs'), join(this.links, link));
    await syncDirectory(this.links);
  }

  private async removeLinkTo(hex: string): Promise<void> {
    for (let length = LINK_LENGTH; length <= hex.length; length += 1) {
      const leadsHere = await this.leadsTo(hex.slice(0, length), hex);
      if (leadsHere === undefined) return;
      if (leadsHere) return await removeTree(join(this.links, hex.slice(0, length)));
    }
  }

  private async deleteDanglingLinks(): Promise<number> {
    let deleted = 0;
    for (const short of await readdir(this.links)) {
      const link = join(this.links, short);
      const dangles = await stat(link).then(
        () => false,
        (error: unknown) => errnoOf(error) === 'ENOENT',
      );
      if (!dangles) continue;
      await removeTree(link);
      deleted += 1;
    }
    return deleted;
  }
}

/** The error for a name or key in use. */
export function alreadyExists(name: string): ContainerError {
  return new ContainerError('ALREADY_EXISTS', `there is a snapshot ${name} already`, { details: { name } });
}
