// A node's directory of object files: written so that what was acknowledged survives power loss, verified when read.

import { type Disk, errorMessage, isHeptadError, type Random } from '@heptad/core';
import { StorageError } from '../errors.ts';
import { isTag, type Tag, ZERO_TAG } from '../model/tag.ts';
import { type ObjectId, objectId, type VersionHeader } from '../model/version.ts';
import { PARTITION_COUNT } from '../placement/assign.ts';
import { type IndexEntry, ObjectIndex, type PartitionCounts } from './index-of-objects.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { DamagedRecord, encodeRecord, readRecord, readRecordHeader } from './record.ts';

/** Files read at the same time while the index is rebuilt. */
const RECOVERY_CONCURRENCY = 16;
const FILE_NAME = /^([0-9a-f]{64})-([0-9a-f]{16}\.[0-9a-f]{16})$/;

/** How to open an {@link ObjectDirectory}. */
export interface ObjectDirectoryOptions {
  readonly directory: string;
  readonly capacityBytes: number;
  readonly disk: Disk;
  readonly random: Random;
}

/** What a node found when it looked for an object. */
export type Found =
  | { readonly state: 'none' }
  | { readonly state: 'corrupt'; readonly tag: Tag; readonly reason: string }
  | { readonly state: 'good'; readonly header: VersionHeader; readonly body: Uint8Array };

/** See the head of this file. */
export class ObjectDirectory {
  readonly #options: ObjectDirectoryOptions;
  readonly #index = new ObjectIndex();
  readonly #mutex = new KeyedMutex();
  #reservedBytes = 0;
  #writes = 0;

  private constructor(options: ObjectDirectoryOptions) {
    this.#options = options;
  }

  /** Opens the directory, removes what a crash left half written, and rebuilds the index from the files. */
  static async open(options: ObjectDirectoryOptions): Promise<ObjectDirectory> {
    const store = new ObjectDirectory(options);
    await store.#makeDirectories();
    await store.#removeTornFiles();
    for (let partition = 0; partition < PARTITION_COUNT; partition += 1) await store.#recover(partition);
    return store;
  }

  get usedBytes(): number {
    return this.#index.usedBytes;
  }

  get capacityBytes(): number {
    return this.#options.capacityBytes;
  }

  counts(): PartitionCounts[] {
    return this.#index.counts();
  }

  entry(id: ObjectId): IndexEntry | undefined {
    return this.#index.get(id);
  }

  entries(): Iterable<IndexEntry> {
    return this.#index.entries();
  }

  partitionPage(partition: number, after: string, limit: number): IndexEntry[] {
    return this.#index.partitionPage(partition, after, limit);
  }

  bucketPage(bucket: string, prefix: string, after: string, limit: number): IndexEntry[] {
    return this.#index.bucketPage(bucket, prefix, after, limit);
  }

  /** Reads and verifies an object; one that fails is marked until a good copy replaces it. */
  async read(id: ObjectId): Promise<Found> {
    const entry = this.#index.get(id);
    if (entry === undefined) return { state: 'none' };
    const path = this.#path(id, entry.tag);
    try {
      const { header, body } = await this.#withFile(path, (readAt) => readRecord(readAt));
      // A file that verifies but is another object's: the disk wrote or read the wrong place.
      if (header.tag !== entry.tag || objectId(header.bucket, header.key) !== id) {
        throw new DamagedRecord(
          `the file holds another version, ${header.bucket}/${header.key} ${header.tag}`,
        );
      }
      return { state: 'good', header, body };
    } catch (error) {
      const now = this.#index.get(id);
      // A newer version replaced the file while we were about to open it.
      if (now?.tag !== entry.tag) return await this.read(id);
      this.#index.set({ ...entry, corrupt: true });
      return { state: 'corrupt', tag: entry.tag, reason: `${path}: ${errorMessage(error)}` };
    }
  }

  /**
   * Stores a version unless a later one is here, durably, and answers the tag that is here afterwards. A version
   * with the tag that is here already is written only over a copy that failed its verification.
   */
  async write(header: VersionHeader, body: Uint8Array): Promise<Tag> {
    const id = objectId(header.bucket, header.key);
    return await this.#mutex.run(id, async () => {
      const old = this.#index.get(id);
      if (old !== undefined && (old.tag > header.tag || (old.tag === header.tag && !old.corrupt)))
        return old.tag;
      const record = encodeRecord(header, body);
      this.#reserve(record.length, header);
      try {
        await this.#publish(id, header.tag, record);
      } catch (error) {
        throw spaceError(error) ?? error;
      } finally {
        this.#reservedBytes -= record.length;
      }
      this.#index.set({ id, tag: header.tag, header, fileBytes: record.length, corrupt: false });
      if (old !== undefined && old.tag !== header.tag)
        await this.#options.disk.remove(this.#path(id, old.tag));
      return header.tag;
    });
  }

  /** Removes an object from this node alone, unless it has a later tag than `upTo`. */
  async drop(id: ObjectId, upTo: Tag): Promise<void> {
    await this.#mutex.run(id, async () => {
      const entry = this.#index.get(id);
      if (entry === undefined || entry.tag > upTo) return;
      await this.#options.disk.remove(this.#path(id, entry.tag));
      await this.#options.disk.syncDirectory(this.#partitionPath(id));
      this.#index.delete(id);
    });
  }

  /** Removes everything of a partition from this node alone. */
  async purge(partition: number): Promise<void> {
    const { disk, directory } = this.#options;
    const path = `${directory}/objects/${partitionName(partition)}`;
    const names = await disk.list(path);
    if (names.length === 0) return;
    for (const name of names) {
      const id = name.slice(0, 64);
      await this.#mutex.run(id, async () => {
        await disk.remove(`${path}/${name}`);
        this.#index.delete(id);
      });
    }
    await disk.syncDirectory(path);
  }

  #reserve(bytes: number, header: VersionHeader): void {
    const free = this.capacityBytes - this.usedBytes - this.#reservedBytes;
    // A tombstone is allowed into a full node: it is how space is made.
    if (bytes > free && !header.deleted) {
      throw new StorageError(
        'INSUFFICIENT_SPACE',
        `cannot store ${bytes} bytes of ${header.bucket}/${header.key}: ${Math.max(0, free)} of ` +
          `${this.capacityBytes} bytes are free`,
        { details: { freeBytes: Math.max(0, free), capacityBytes: this.capacityBytes, neededBytes: bytes } },
      );
    }
    this.#reservedBytes += bytes;
  }

  // The order that makes a file durable and whole: its bytes reach the disk before its name does, and its name before
  // anyone is told. A crash before the rename leaves a file in tmp/ that nobody looks at.
  async #publish(id: ObjectId, tag: Tag, record: Uint8Array): Promise<void> {
    const { disk, directory, random } = this.#options;
    this.#writes += 1;
    const suffix = Buffer.from(random.bytes(4)).toString('hex');
    const temporary = `${directory}/tmp/${id.slice(0, 16)}-${this.#writes}-${suffix}`;
    try {
      const file = await disk.open(temporary, 'create-new');
      try {
        await file.write(0, record);
        await file.datasync();
      } finally {
        await file.close();
      }
      await disk.rename(temporary, this.#path(id, tag));
    } catch (error) {
      await disk.remove(temporary).catch(() => undefined);
      throw error;
    }
    await disk.syncDirectory(this.#partitionPath(id));
  }

  async #makeDirectories(): Promise<void> {
    const { disk, directory } = this.#options;
    await disk.makeDirectory(`${directory}/tmp`);
    await disk.makeDirectory(`${directory}/objects`);
    for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
      await disk.makeDirectory(`${directory}/objects/${partitionName(partition)}`);
    }
    await disk.syncDirectory(`${directory}/objects`);
    await disk.syncDirectory(directory);
  }

  async #removeTornFiles(): Promise<void> {
    const { disk, directory } = this.#options;
    for (const name of await disk.list(`${directory}/tmp`)) await disk.remove(`${directory}/tmp/${name}`);
  }

  async #recover(partition: number): Promise<void> {
    const { disk, directory } = this.#options;
    const path = `${directory}/objects/${partitionName(partition)}`;
    const names = (await disk.list(path)).filter((name) => FILE_NAME.test(name)).sort();
    for (let from = 0; from < names.length; from += RECOVERY_CONCURRENCY) {
      await Promise.all(
        names.slice(from, from + RECOVERY_CONCURRENCY).map((name, offset) => {
          // Sorted names put the versions of an object side by side, the latest last; only it counts. The others are
          // files whose removal a crash prevented.
          const following = names[from + offset + 1];
          const superseded = following?.slice(0, 64) === name.slice(0, 64);
          return superseded ? disk.remove(`${path}/${name}`) : this.#adopt(path, name);
        }),
      );
    }
  }

  async #adopt(path: string, name: string): Promise<void> {
    const [, id = '', tag = ZERO_TAG] = FILE_NAME.exec(name) ?? [];
    if (!isTag(tag)) return;
    let fileBytes = 0;
    try {
      const header = await this.#withFile(`${path}/${name}`, async (readAt, size) => {
        fileBytes = size;
        return (await readRecordHeader(readAt)).header;
      });
      if (header.tag !== tag || objectId(header.bucket, header.key) !== id) {
        throw new DamagedRecord('name and header differ');
      }
      this.#index.set({ id, tag, header, fileBytes, corrupt: false });
    } catch {
      // Whatever was wrong, the version itself was acknowledged: the tag stays known and a repair brings it back.
      this.#index.set({ id, tag, fileBytes, corrupt: true });
    }
  }

  async #withFile<T>(
    path: string,
    work: (readAt: (offset: number, length: number) => Promise<Uint8Array>, size: number) => Promise<T>,
  ): Promise<T> {
    const file = await this.#options.disk.open(path, 'read');
    try {
      return await work((offset, length) => file.read(offset, length), await file.size());
    } finally {
      await file.close();
    }
  }

  #path(id: ObjectId, tag: Tag): string {
    return `${this.#partitionPath(id)}/${id}-${tag}`;
  }

  #partitionPath(id: ObjectId): string {
    return `${this.#options.directory}/objects/${id.slice(0, 2)}`;
  }
}

function partitionName(partition: number): string {
  return partition.toString(16).padStart(2, '0');
}

function spaceError(error: unknown): StorageError | undefined {
  if (!isHeptadError(error, 'DISK_FULL')) return undefined;
  return new StorageError(
    'INSUFFICIENT_SPACE',
    `cannot write an object: the disk is full (${error.message})`,
    {
      cause: error,
      hint: 'free space on that disk; capacityBytes should be less than the disk has',
    },
  );
}
