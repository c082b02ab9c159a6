// Content by digest: written aside under a reference, verified, and only then given its name.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Clock, isHeptadError, systemClock } from '@heptad/core';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { ensureDirectory, syncDirectory, unlinkIfAny } from '../system/files.ts';
import { KernelMutex, lockName } from '../system/kernel-lock.ts';
import { ContentLabels, type Labels, mergeLabels, type StoredLabels } from './content-labels.ts';
import {
  type BlobInfo,
  type ContentWriter,
  type ExpectedContent,
  hashFile,
  type IngestStatus,
} from './content-writer.ts';
import { type Digest, digestHex, digestOf } from './digest.ts';
import { Ingests } from './ingests.ts';
import type { Lease } from './leases.ts';

const READ_CHUNK_BYTES = 1024 * 1024;

/** Options of {@link ContentStore.open}. */
export interface ContentStoreOptions {
  readonly clock?: Clock;
}

/** A blob open for reading at any place. */
export interface BlobReader extends AsyncDisposable {
  /** Bytes of the blob. */
  readonly size: number;
  /** Up to `length` bytes from `offset`; fewer at the end, none behind it. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** What to write, for {@link ContentStore.ingest}: bytes in order, or a way to start anywhere. */
export type ContentSource =
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ((offset: number) => AsyncIterable<Uint8Array>);

/**
 * A directory of immutable blobs named by their SHA-256.
 *
 * A blob is written to `ingest/<hash of ref>`, synced, checked against the expected digest and size, renamed to
 * `blobs/sha256/<hex>`, and the directory synced: after a crash at any point a name in `blobs` leads to verified bytes.
 * The contract follows containerd's content store (`core/content/content.go`). Several processes may use one store.
 */
export class ContentStore {
  /** Sections that garbage collection excludes. */
  readonly guard: KernelMutex;
  readonly labels: ContentLabels;
  private readonly blobs: string;
  private readonly ingesting: Ingests;
  private readonly clock: Clock;

  private constructor(parts: {
    blobs: string;
    labels: ContentLabels;
    ingesting: Ingests;
    guard: KernelMutex;
    clock: Clock;
  }) {
    this.blobs = parts.blobs;
    this.labels = parts.labels;
    this.ingesting = parts.ingesting;
    this.guard = parts.guard;
    this.clock = parts.clock;
  }

  /** Opens (and makes) the store below `path`. */
  static async open(path: string, options: ContentStoreOptions = {}): Promise<ContentStore> {
    const clock = options.clock ?? systemClock;
    const blobs = join(path, 'blobs', 'sha256');
    await ensureDirectory(blobs);
    const labels = await ContentLabels.open(join(path, 'labels'));
    const guard = new KernelMutex(await lockName(path, 'guard'));
    const ingesting = await Ingests.open(join(path, 'ingest'), { blobs, labels, guard, clock });
    return new ContentStore({ blobs, labels, ingesting, guard, clock });
  }

  /**
   * Opens the write of one blob. A ref written before and not committed is taken up where it ended (`offset`).
   * Throws `REF_IN_USE` while the same ref is being written, here or by another process, and `ALREADY_EXISTS` when
   * `expected.digest` is in the store.
   */
  async writer(ref: string, expected: ExpectedContent = {}): Promise<ContentWriter> {
    if (expected.digest !== undefined) {
      const present = await this.info(expected.digest);
      if (present !== undefined && (expected.size === undefined || expected.size === present.size)) {
        throw new ContainerError('ALREADY_EXISTS', `content ${expected.digest} is in the store already`, {
          details: { digest: expected.digest },
        });
      }
    }
    return await this.ingesting.writer(ref, expected);
  }

  /**
   * Writes a whole source as one blob, unless it is here. A failure leaves nothing behind. A lease keeps the blob from
   * the moment it is there.
   * Throws `DIGEST_MISMATCH`, `NO_SPACE`, `READ_ONLY`, `REF_IN_USE`.
   */
  async ingest(
    ref: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    expected: ExpectedContent = {},
    lease?: Pick<Lease, 'add'>,
  ): Promise<BlobInfo> {
    const writer = await this.ingesting.writer(ref, expected);
    try {
      await writer.truncate();
      for await (const chunk of source) await writer.write(chunk);
      await lease?.add({ kind: 'content', id: writer.digest });
      return await this.commit(writer);
    } catch (error) {
      await writer.abort().catch(() => undefined);
      throw error;
    }
  }

  /**
   * Goes on with a write where it ended: skips what is written already, appends the rest and commits. A failure keeps
   * what arrived, for the next try. Ends the writer. A blob that is here already is success.
   */
  async resume(
    writer: ContentWriter,
    source: ContentSource,
    expected: ExpectedContent = {},
  ): Promise<BlobInfo> {
    try {
      let skip = typeof source === 'function' ? 0 : writer.offset;
      for await (const chunk of typeof source === 'function' ? source(writer.offset) : source) {
        const rest = chunk.subarray(Math.min(skip, chunk.length));
        skip -= chunk.length - rest.length;
        if (rest.length > 0) await writer.write(rest);
      }
      return await this.commit(writer, expected);
    } finally {
      await writer.close();
    }
  }

  /** How far the write of a ref is. Throws `CONTENT_NOT_FOUND`. */
  async status(ref: string): Promise<IngestStatus> {
    return await this.ingesting.status(ref);
  }

  /** Unfinished writes whose ref matches. */
  async statuses(filter?: RegExp): Promise<IngestStatus[]> {
    return await this.ingesting.list(filter);
  }

  /** Drops what was written under a ref. Throws `CONTENT_NOT_FOUND`, and `REF_IN_USE` while it is being written. */
  async abort(ref: string): Promise<void> {
    await this.ingesting.abort(ref);
  }

  /** The blob, or undefined when it is not here. */
  async info(digest: Digest): Promise<BlobInfo | undefined> {
    return await this.look(digest, true);
  }

  /**
   * Changes labels: all of them, or only those that `fieldPaths` name (`labels.KEY`; missing or empty removes).
   * Throws `CONTENT_NOT_FOUND`, `INVALID_ARGUMENT`.
   */
  async update(
    digest: Digest,
    update: { readonly labels: Labels },
    fieldPaths: readonly string[] = [],
  ): Promise<BlobInfo> {
    return await this.guard.run(async () => {
      const before = await this.require(digest);
      const updatedAt = this.clock.now();
      const labels = mergeLabels(before.labels, update.labels, fieldPaths);
      await this.labels.replace(digest, labels, updatedAt);
      return { ...before, labels, updatedAt };
    });
  }

  /** A blob, or its bytes from `start` to `end` inclusive, as a stream. Throws `CONTENT_NOT_FOUND` when it is not here. */
  async read(
    digest: Digest,
    range: { readonly start?: number; readonly end?: number } = {},
  ): Promise<Readable> {
    await this.require(digest);
    return createReadStream(this.blobPath(digest), { highWaterMark: READ_CHUNK_BYTES, ...range });
  }

  /** A blob to read at any place. Throws `CONTENT_NOT_FOUND`. */
  async readerAt(digest: Digest): Promise<BlobReader> {
    const { size } = await this.require(digest);
    const file = await open(this.blobPath(digest), 'r');
    const close = async (): Promise<void> => await file.close();
    return {
      size,
      async read(offset, length) {
        const { buffer, bytesRead } = await file.read(
          new Uint8Array(Math.max(0, Math.min(length, size - offset))),
          { position: offset },
        );
        return buffer.subarray(0, bytesRead);
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  /** A small blob as bytes, its digest checked again: a damaged disk must not change what runs. */
  async readBytes(digest: Digest, maxBytes: number): Promise<Uint8Array> {
    const { size } = await this.require(digest);
    if (size > maxBytes) {
      throw new ContainerError(
        'LIMIT_EXCEEDED',
        `cannot read ${digest}: ${size} bytes is more than the limit of ${maxBytes}`,
      );
    }
    const file = await open(this.blobPath(digest), 'r');
    try {
      const bytes = await file.readFile();
      if (digestOf(bytes) !== digest) throw corrupt(digest);
      return bytes;
    } finally {
      await file.close();
    }
  }

  /** Reads a blob through and compares its digest. Throws `STORE_CORRUPT`. */
  async verify(digest: Digest): Promise<void> {
    await this.require(digest);
    const file = await open(this.blobPath(digest), 'r');
    try {
      const hash = createHash('sha256');
      await hashFile(file, hash);
      if (`sha256:${hash.digest('hex')}` !== digest) throw corrupt(digest);
    } finally {
      await file.close();
    }
  }

  /**
   * Marks a blob as wanted now, so that {@link ImageStore.gc} spares it until it is referred to. What is returned is
   * here and stays; undefined when a collection was faster.
   */
  async touch(digest: Digest, at: number): Promise<BlobInfo | undefined> {
    return await this.guard.run(async () => {
      const info = await this.info(digest);
      if (info === undefined) return undefined;
      await utimes(this.blobPath(digest), at / 1000, info.createdAt / 1000).catch((error: unknown) => {
        throw diskError(error, `keep ${digest}`);
      });
      return { ...info, touchedAt: at };
    });
  }

  /** Every blob, or those that `filter` accepts. */
  async *list(filter: (info: BlobInfo) => boolean = () => true): AsyncGenerator<BlobInfo> {
    const labelled = new Set(await this.labels.digests());
    for (const digest of await this.digests()) {
      const info = await this.look(digest, labelled.has(digest));
      if (info !== undefined && filter(info)) yield info;
    }
  }

  /** Digests of every blob, without a look at each. */
  async digests(): Promise<Digest[]> {
    const names = await readdir(this.blobs);
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`);
  }

  /** Deletes a blob; missing is fine. */
  async delete(digest: Digest): Promise<void> {
    await unlinkIfAny(this.blobPath(digest));
    await this.labels.delete(digest);
  }

  /** Makes deletions survive a power cut. */
  async sync(): Promise<void> {
    await syncDirectory(this.blobs);
  }

  /** Deletes unfinished writes that nobody works on or touched since `before`; returns how many. */
  async deleteStaleIngests(before: number, keep: (ref: string) => boolean = () => false): Promise<number> {
    return await this.ingesting.deleteStale(before, keep);
  }

  private async look(digest: Digest, mayHaveLabels: boolean): Promise<BlobInfo | undefined> {
    try {
      const { size, mtimeMs, atimeMs } = await stat(this.blobPath(digest));
      const { labels, updatedAt }: StoredLabels = mayHaveLabels
        ? await this.labels.read(digest)
        : { labels: {} };
      return {
        digest,
        size,
        // Set in whole milliseconds; what a double of seconds loses of them comes back by rounding.
        createdAt: Math.round(mtimeMs),
        updatedAt: updatedAt ?? Math.round(mtimeMs),
        touchedAt: Math.round(Math.max(mtimeMs, atimeMs)),
        labels,
      };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  private async commit(writer: ContentWriter, expected: ExpectedContent = {}): Promise<BlobInfo> {
    const { digest } = writer;
    try {
      return await writer.commit(expected);
    } catch (error) {
      if (!isHeptadError(error, 'ALREADY_EXISTS')) throw error;
      return await this.require(digest);
    }
  }

  private async require(digest: Digest): Promise<BlobInfo> {
    const info = await this.info(digest);
    if (info !== undefined) return info;
    throw new ContainerError('CONTENT_NOT_FOUND', `content ${digest} is not in the store`, {
      hint: 'load or pull the image again',
      details: { digest },
    });
  }

  private blobPath(digest: Digest): string {
    return join(this.blobs, digestHex(digest));
  }
}

function corrupt(digest: Digest): ContainerError {
  return new ContainerError(
    'STORE_CORRUPT',
    `content ${digest} is damaged on disk: its bytes have another digest`,
    {
      hint: 'remove the image and load or pull it again; check the disk',
      details: { digest },
    },
  );
}
