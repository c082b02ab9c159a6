// Content by digest: written aside under a reference, verified, and only then given its name.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import { type BlobInfo, ContentWriter, type ExpectedContent, hashFile } from './content-writer.ts';
import { type Digest, digestHex, digestOf } from './digest.ts';

const READ_CHUNK_BYTES = 1024 * 1024;

/**
 * A directory of immutable blobs named by their SHA-256.
 *
 * A blob is written to `ingest/<hash of ref>`, synced, checked against the expected digest and size, renamed to
 * `blobs/sha256/<hex>`, and the directory synced: after a crash at any point a name in `blobs` leads to verified bytes.
 * The contract follows containerd's content store (`core/content/content.go`).
 */
export class ContentStore {
  private readonly blobs: string;
  private readonly ingests: string;
  private readonly openRefs = new Set<string>();

  private constructor(path: string) {
    this.blobs = join(path, 'blobs', 'sha256');
    this.ingests = join(path, 'ingest');
  }

  /** Opens (and makes) the store below `path`. */
  static async open(path: string): Promise<ContentStore> {
    const store = new ContentStore(path);
    await ensureDirectory(store.blobs);
    await ensureDirectory(store.ingests);
    return store;
  }

  /**
   * Opens the write of one blob. A ref written before and not committed is taken up where it ended (`offset`).
   * Throws `LIMIT_EXCEEDED` when the same ref is being written in this process.
   */
  async writer(ref: string): Promise<ContentWriter> {
    const path = join(this.ingests, digestOf(ref).slice('sha256:'.length));
    if (this.openRefs.has(path)) {
      throw new ContainerError(
        'LIMIT_EXCEEDED',
        `cannot write content "${ref}": it is being written already`,
        { retryable: true },
      );
    }
    this.openRefs.add(path);
    try {
      const file = await open(path, 'a+', 0o600);
      const hash = createHash('sha256');
      const offset = await hashFile(file, hash);
      return new ContentWriter({
        file,
        hash,
        offset,
        path,
        blobs: this.blobs,
        closed: () => this.openRefs.delete(path),
      });
    } catch (error) {
      this.openRefs.delete(path);
      throw diskError(error, `write content "${ref}"`);
    }
  }

  /** Writes a whole stream as one blob; a failure leaves nothing behind. Throws `DIGEST_MISMATCH`, `NO_SPACE`. */
  async ingest(
    ref: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    expected: ExpectedContent = {},
  ): Promise<BlobInfo> {
    const writer = await this.writer(ref);
    try {
      await writer.truncate();
      for await (const chunk of source) await writer.write(chunk);
      return await writer.commit(expected);
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  /** The blob, or undefined when it is not here. */
  async info(digest: Digest): Promise<BlobInfo | undefined> {
    try {
      const { size, mtimeMs } = await stat(this.blobPath(digest));
      return { digest, size, touchedAt: mtimeMs };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** A blob as a stream. Throws `IMAGE_NOT_FOUND` when it is not here. */
  async read(digest: Digest): Promise<Readable> {
    await this.require(digest);
    return createReadStream(this.blobPath(digest), { highWaterMark: READ_CHUNK_BYTES });
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

  /** Marks a blob as in use now, so that {@link ImageStore.gc} spares it until it is referred to. */
  async touch(digest: Digest, at: number): Promise<void> {
    await utimes(this.blobPath(digest), at / 1000, at / 1000);
  }

  /** Every blob. */
  async *list(): AsyncGenerator<BlobInfo> {
    for (const name of await readdir(this.blobs)) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const info = await this.info(`sha256:${name}`);
      if (info !== undefined) yield info;
    }
  }

  /** Deletes a blob; missing is fine. */
  async delete(digest: Digest): Promise<void> {
    await unlink(this.blobPath(digest)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }

  /** Deletes unfinished writes that nobody touched since `before`; returns how many. */
  async deleteStaleIngests(before: number): Promise<number> {
    let deleted = 0;
    for (const name of await readdir(this.ingests)) {
      const path = join(this.ingests, name);
      const info = await stat(path).catch(() => undefined);
      if (info === undefined || info.mtimeMs >= before || this.openRefs.has(path)) continue;
      await unlink(path).catch(() => undefined);
      deleted += 1;
    }
    return deleted;
  }

  private async require(digest: Digest): Promise<BlobInfo> {
    const info = await this.info(digest);
    if (info !== undefined) return info;
    throw new ContainerError('IMAGE_NOT_FOUND', `content ${digest} is not in the store`, {
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
