// A node's memory of what is on its disk: the newest version of each object, by id, by partition and by bucket.

import type { Tag } from '../model/tag.ts';
import { compareKeys, type ObjectId, type VersionHeader } from '../model/version.ts';
import { PARTITION_COUNT, partitionOf } from '../placement/assign.ts';

/** What the index knows of one object. */
export interface IndexEntry {
  readonly id: ObjectId;
  readonly tag: Tag;
  /** Missing only when the file's header was found damaged after a restart. */
  readonly header?: VersionHeader;
  /** Size of the file on disk. */
  readonly fileBytes: number;
  /** The file failed its verification; it waits for a good copy from another replica. */
  readonly corrupt: boolean;
}

/** Counts of one partition. */
export interface PartitionCounts {
  readonly objects: number;
  readonly tombstones: number;
  readonly bytes: number;
  /** Changes whenever any entry does; equal on replicas that hold the same. */
  readonly digest: string;
}

interface Bucket {
  readonly ids: Map<string, ObjectId>;
  /** Sorted keys; undefined after a key came or went. */
  sorted: string[] | undefined;
}

interface Partition {
  readonly entries: Map<ObjectId, IndexEntry>;
  digest: bigint;
}

/** See the head of this file. */
export class ObjectIndex {
  readonly #partitions: readonly Partition[] = Array.from({ length: PARTITION_COUNT }, () => ({
    entries: new Map<ObjectId, IndexEntry>(),
    digest: 0n,
  }));
  readonly #buckets = new Map<string, Bucket>();
  #usedBytes = 0;

  /** Bytes of all files. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  get(id: ObjectId): IndexEntry | undefined {
    return this.#partition(partitionOf(id)).entries.get(id);
  }

  set(entry: IndexEntry): void {
    this.delete(entry.id);
    const partition = this.#partition(partitionOf(entry.id));
    partition.entries.set(entry.id, entry);
    partition.digest ^= entryDigest(entry);
    this.#usedBytes += entry.fileBytes;
    if (entry.header === undefined) return;
    const bucket = this.#bucket(entry.header.bucket);
    if (!bucket.ids.has(entry.header.key)) bucket.sorted = undefined;
    bucket.ids.set(entry.header.key, entry.id);
  }

  delete(id: ObjectId): void {
    const partition = this.#partition(partitionOf(id));
    const entry = partition.entries.get(id);
    if (entry === undefined) return;
    partition.entries.delete(id);
    partition.digest ^= entryDigest(entry);
    this.#usedBytes -= entry.fileBytes;
  }

  /** Entries of a partition in the order of their ids, after `after`. */
  partitionPage(partition: number, after: string, limit: number): IndexEntry[] {
    const ids = [...this.#partition(partition).entries.keys()].filter((id) => id > after).sort();
    return ids.slice(0, limit).flatMap((id) => this.get(id) ?? []);
  }

  /** Entries of a bucket, tombstones too, in key order, after `after` and with `prefix`. */
  bucketPage(name: string, prefix: string, after: string, limit: number): IndexEntry[] {
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) return [];
    const keys = this.#sortedKeys(bucket);
    const page: IndexEntry[] = [];
    for (let at = firstFrom(keys, prefix, after); at < keys.length && page.length < limit; at += 1) {
      const key = keys[at] ?? '';
      if (!key.startsWith(prefix)) break;
      const entry = this.get(bucket.ids.get(key) ?? '00');
      if (entry?.header !== undefined) page.push(entry);
    }
    return page;
  }

  /** Counts of every partition, by its number. */
  counts(): PartitionCounts[] {
    return this.#partitions.map(({ entries, digest }) => {
      let bytes = 0;
      let tombstones = 0;
      for (const entry of entries.values()) {
        bytes += entry.fileBytes;
        if (entry.header?.deleted === true) tombstones += 1;
      }
      return { objects: entries.size - tombstones, tombstones, bytes, digest: digest.toString(16) };
    });
  }

  *entries(): Iterable<IndexEntry> {
    for (const partition of this.#partitions) yield* partition.entries.values();
  }

  #partition(number: number): Partition {
    const partition = this.#partitions[number];
    if (partition === undefined) throw new RangeError(`no partition ${number}`);
    return partition;
  }

  #bucket(name: string): Bucket {
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    const bucket: Bucket = { ids: new Map(), sorted: undefined };
    this.#buckets.set(name, bucket);
    return bucket;
  }

  #sortedKeys(bucket: Bucket): string[] {
    if (bucket.sorted !== undefined) return bucket.sorted;
    for (const [key, id] of bucket.ids) if (this.get(id) === undefined) bucket.ids.delete(key);
    bucket.sorted = [...bucket.ids.keys()].sort(compareKeys);
    return bucket.sorted;
  }
}

function firstFrom(keys: readonly string[], prefix: string, after: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const key = keys[middle] ?? '';
    const before = compareKeys(key, prefix) < 0 || (after !== '' && compareKeys(key, after) <= 0);
    if (before) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The exclusive-or of well-mixed numbers is order-free and lets an entry be taken out again. The first digits of an id
// are a hash already; the tag is mixed in by multiplication with an odd constant (Fibonacci hashing, 64 bits).
function entryDigest(entry: IndexEntry): bigint {
  const [time = '0', writer = '0'] = entry.tag.split('.');
  const tag = BigInt(`0x${time}`) * 0x9e3779b97f4a7c15n + BigInt(`0x${writer}`) * 0xc2b2ae3d27d4eb4fn;
  const mixed = (BigInt(`0x${entry.id.slice(0, 16)}`) ^ tag) * 0xff51afd7ed558ccdn;
  return BigInt.asUintN(64, mixed ^ (entry.corrupt ? 1n : 0n));
}
