// SimDisk: a disk that forgets what was not synced when it crashes, tears writes, fails and rots, by the seed.

import { HeptadError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Disk, DiskFile } from '../ports/disk.ts';
import { SimDirectories } from './disk-directories.ts';
import type { SeededRandom } from './seeded-random.ts';

/** What a disk writes whole or not at all. */
const SECTOR_BYTES = 512;

/** How a disk misbehaves. */
export interface SimDiskFaults {
  /** Share of reads that fail with EIO. Default 0. */
  readonly readErrorRate: number;
  /** Share of writes and syncs that fail with EIO. Default 0. */
  readonly writeErrorRate: number;
  /** Bytes of content it holds; beyond it `DISK_FULL`. Default: no bound. */
  readonly capacityBytes: number;
  /** Shortest and longest time of an operation. Default 0.01 to 2 ms. */
  readonly minimumDelayMs: number;
  readonly maximumDelayMs: number;
}

const NO_FAULTS: SimDiskFaults = {
  readErrorRate: 0,
  writeErrorRate: 0,
  capacityBytes: Number.POSITIVE_INFINITY,
  minimumDelayMs: 0.01,
  maximumDelayMs: 2,
};

type Pending = { readonly offset: number; readonly data: Uint8Array } | { readonly truncate: number };

/** A file's bytes as they are read, as they survive, and what happened in between. */
class Inode {
  content: Uint8Array = new Uint8Array();
  durable: Uint8Array = new Uint8Array();
  pending: Pending[] = [];
}

function applied(content: Uint8Array, change: Pending): Uint8Array {
  if ('truncate' in change) {
    const cut = new Uint8Array(change.truncate);
    cut.set(content.subarray(0, change.truncate));
    return cut;
  }
  const end = change.offset + change.data.length;
  const grown = new Uint8Array(Math.max(content.length, end));
  grown.set(content);
  grown.set(change.data, change.offset);
  return grown;
}

/**
 * A {@link Disk} in memory under the simulation's clock.
 *
 * {@link SimDisk.crash} is power loss: of what was written since the last `datasync` each sector survives or not on its
 * own, whatever the order of writing; of the directory entries not yet made durable by `syncDirectory` the first few
 * survive, counted for each directory.
 *
 * @example
 * ```ts
 * import { Simulation } from '@heptad/core/sim';
 *
 * const simulation = new Simulation({ seed: 3 });
 * await simulation.run(async () => {
 *   const { disk } = simulation.process('a');
 *   await disk.makeDirectory('/data');
 *   await disk.syncDirectory('/');
 *   const file = await disk.open('/data/log', 'create-new');
 *   await file.write(0, Buffer.from('safe'));
 *   await file.datasync();
 *   await disk.syncDirectory('/data');
 *   await file.write(4, Buffer.from(' or not'));
 *   disk.crash();
 *   const again = await disk.open('/data/log', 'read');
 *   console.log(Buffer.from(await again.read(0, 4)).toString()); // safe
 * });
 * ```
 */
export class SimDisk implements Disk {
  readonly #clock: Clock;
  readonly #random: SeededRandom;
  readonly #directories = new SimDirectories<Inode>();
  #faults: SimDiskFaults;
  /** Raised by each crash: files opened before it are gone. */
  #life = 0;

  constructor(options: { clock: Clock; random: SeededRandom; faults?: Partial<SimDiskFaults> }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#faults = { ...NO_FAULTS, ...options.faults };
  }

  /** Changes how it misbehaves from now on. */
  setFaults(faults: Partial<SimDiskFaults>): void {
    this.#faults = { ...this.#faults, ...faults };
  }

  /** Power loss: what was not synced is lost in part or whole; open files are no more. */
  crash(): void {
    this.#life += 1;
    this.#directories.crash((count) => this.#random.integer(count + 1));
    for (const inode of this.#directories.files()) {
      let survived = inode.durable;
      for (const change of inode.pending) {
        if ('truncate' in change) {
          if (this.#random.chance(0.5)) survived = applied(survived, change);
        } else {
          for (const sector of sectorsOf(change)) {
            if (this.#random.chance(0.5)) survived = applied(survived, sector);
          }
        }
      }
      inode.content = survived;
      inode.durable = survived;
      inode.pending = [];
    }
  }

  /** Flips one bit of a file, silently, as media do. Answers its offset. */
  corrupt(path: string): number {
    const inode = this.#directories.file(path);
    if (inode === undefined || inode.content.length === 0) {
      throw new HeptadError('FILE_NOT_FOUND', `cannot corrupt ${path}: there is nothing to corrupt`);
    }
    const offset = this.#random.integer(inode.content.length);
    const flip = (bytes: Uint8Array): Uint8Array => {
      const copy = Uint8Array.from(bytes);
      if (offset < copy.length) copy[offset] = (copy[offset] ?? 0) ^ (1 << this.#random.integer(8));
      return copy;
    };
    inode.content = flip(inode.content);
    if (inode.pending.length === 0) inode.durable = inode.content;
    return offset;
  }

  async open(path: string, mode: 'read' | 'write' | 'create-new'): Promise<DiskFile> {
    await this.#operation('open', path, 'read');
    const present = this.#directories.file(path);
    if (present !== undefined && mode === 'create-new') {
      throw new HeptadError('FILE_EXISTS', `cannot open ${path}: EEXIST`);
    }
    if (present === undefined && mode === 'read') throw this.#missing('open', path);
    const inode = present ?? new Inode();
    if (present === undefined) this.#directories.create(path, inode);
    return this.#file(path, inode, mode === 'read');
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#operation('rename', from, 'write');
    if (this.#directories.file(from) === undefined) throw this.#missing('rename', from);
    this.#directories.rename(from, to);
  }

  async remove(path: string): Promise<void> {
    await this.#operation('remove', path, 'write');
    if (this.#directories.file(path) === undefined) throw this.#missing('remove', path);
    this.#directories.remove(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#operation('make durable the entries of', path, 'write');
    if (!this.#directories.isDirectory(path)) throw this.#missing('make durable the entries of', path);
    this.#directories.sync(path);
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#operation('create directory', path, 'write');
    this.#directories.makeDirectory(path);
  }

  async list(path: string): Promise<string[]> {
    await this.#operation('list', path, 'read');
    if (!this.#directories.isDirectory(path)) throw this.#missing('list', path);
    return this.#directories.list(path);
  }

  async exists(path: string): Promise<boolean> {
    await this.#operation('look at', path, 'read');
    return this.#directories.file(path) !== undefined || this.#directories.isDirectory(path);
  }

  #missing(doing: string, path: string): HeptadError {
    return new HeptadError('FILE_NOT_FOUND', `cannot ${doing} ${path}: ENOENT`, { details: { path } });
  }

  /** Takes its time, and may fail. A crash meanwhile fails it too. */
  async #operation(doing: string, path: string, kind: 'read' | 'write'): Promise<void> {
    const life = this.#life;
    const { minimumDelayMs, maximumDelayMs, readErrorRate, writeErrorRate } = this.#faults;
    await this.#clock.sleep(this.#random.between(minimumDelayMs, maximumDelayMs));
    const fails = this.#random.chance(kind === 'read' ? readErrorRate : writeErrorRate);
    if (fails || life !== this.#life) {
      throw new HeptadError('DISK_ERROR', `cannot ${doing} ${path}: EIO`, {
        details: { path, errno: 'EIO' },
      });
    }
  }

  #usedBytes(): number {
    return this.#directories.files().reduce((sum, inode) => sum + inode.content.length, 0);
  }

  #file(path: string, inode: Inode, readOnly: boolean): DiskFile {
    const life = this.#life;
    let open = true;
    const operation = async (doing: string, kind: 'read' | 'write'): Promise<void> => {
      if (!open || life !== this.#life) {
        throw new HeptadError('DISK_ERROR', `cannot ${doing} ${path}: EBADF`, {
          details: { path, errno: 'EBADF' },
        });
      }
      if (readOnly && kind === 'write') {
        throw new HeptadError('DISK_ERROR', `cannot ${doing} ${path}: it was opened for reading`);
      }
      await this.#operation(doing, path, kind);
    };
    const change = (pending: Pending): void => {
      inode.pending.push(pending);
      inode.content = applied(inode.content, pending);
    };
    const close = async (): Promise<void> => {
      open = false;
    };
    return {
      read: async (offset, length) => {
        await operation('read', 'read');
        return Uint8Array.from(inode.content.subarray(offset, offset + length));
      },
      write: async (offset, data) => {
        // Copied now: what the caller does to its buffer while the disk is slow is its own affair.
        const copy = Uint8Array.from(data);
        await operation('write', 'write');
        const growth = Math.max(0, offset + copy.length - inode.content.length);
        if (this.#usedBytes() + growth > this.#faults.capacityBytes) {
          throw new HeptadError('DISK_FULL', `cannot write ${path}: ENOSPC`, {
            details: { path, errno: 'ENOSPC' },
          });
        }
        change({ offset, data: copy });
      },
      datasync: async () => {
        await operation('make durable', 'write');
        inode.durable = inode.content;
        inode.pending = [];
      },
      size: async () => {
        await operation('measure', 'read');
        return inode.content.length;
      },
      truncate: async (length) => {
        await operation('truncate', 'write');
        change({ truncate: length });
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  }
}

/** A write cut at the borders of sectors. */
function* sectorsOf(write: { offset: number; data: Uint8Array }): Generator<Pending> {
  let at = 0;
  while (at < write.data.length) {
    const offset = write.offset + at;
    const length = Math.min(write.data.length - at, SECTOR_BYTES - (offset % SECTOR_BYTES));
    yield { offset, data: write.data.subarray(at, at + length) };
    at += length;
  }
}
