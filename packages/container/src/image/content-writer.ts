// One blob on its way into the store: appended, verified, made durable, and only then given its name.

import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError, diskError } from '../errors.ts';
import { syncDirectory } from '../system/files.ts';
import { type Digest, digestHex } from './digest.ts';

/** What the store knows of one blob. */
export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** When it was last written or referred to by a write, milliseconds since 1970. */
  readonly touchedAt: number;
}

/** What a blob must turn out to be. */
export interface ExpectedContent {
  readonly digest?: Digest;
  /** Bytes. */
  readonly size?: number;
}

/** What a writer works on. */
export interface WriterState {
  readonly file: FileHandle;
  readonly hash: Hash;
  readonly offset: number;
  readonly path: string;
  readonly blobs: string;
  readonly closed: () => void;
}

/** One blob being written. `commit`, `abort` and `close` end it. */
export class ContentWriter {
  private readonly state: WriterState;
  private hash: Hash;
  private written: number;
  private open = true;

  constructor(state: WriterState) {
    this.state = state;
    this.hash = state.hash;
    this.written = state.offset;
  }

  /** Bytes written so far, those of earlier attempts included. */
  get offset(): number {
    return this.written;
  }

  /** Appends. */
  async write(chunk: Uint8Array): Promise<void> {
    this.hash.update(chunk);
    await this.state.file.appendFile(chunk).catch((error: unknown) => {
      throw diskError(error, 'write image content');
    });
    this.written += chunk.length;
  }

  /** Starts over. */
  async truncate(): Promise<void> {
    if (this.written === 0) return;
    await this.state.file.truncate(0);
    this.hash = createHash('sha256');
    this.written = 0;
  }

  /** Verifies, makes durable and names the blob. Ends the writer whatever happens. Throws `DIGEST_MISMATCH`. */
  async commit(expected: ExpectedContent = {}): Promise<BlobInfo> {
    const digest: Digest = `sha256:${this.hash.digest('hex')}`;
    const wrong =
      expected.size !== undefined && expected.size !== this.written
        ? `it has ${this.written} bytes, expected were ${expected.size}`
        : expected.digest !== undefined && expected.digest !== digest
          ? `its digest is ${digest}, expected was ${expected.digest}`
          : undefined;
    if (wrong !== undefined) {
      await this.abort();
      throw new ContainerError('DIGEST_MISMATCH', `refused content: ${wrong}`, {
        hint: 'the source is damaged or was tampered with; fetch it again',
        details: { expected: expected.digest, actual: digest },
      });
    }
    try {
      await this.state.file.sync();
      const target = join(this.state.blobs, digestHex(digest));
      // Renaming over an equal blob is harmless and refreshes its age, which protects it from garbage collection.
      await rename(this.state.path, target);
      await syncDirectory(this.state.blobs);
      const { mtimeMs } = await stat(target);
      return { digest, size: this.written, touchedAt: mtimeMs };
    } catch (error) {
      throw diskError(error, `store ${digest}`);
    } finally {
      await this.close();
    }
  }

  /** Drops what was written. */
  async abort(): Promise<void> {
    if (!this.open) return;
    await unlink(this.state.path).catch(() => undefined);
    await this.close();
  }

  /** Ends the write but keeps the bytes, for a later writer of the same ref. */
  async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    this.state.closed();
    await this.state.file.close();
  }
}

const HASH_CHUNK_BYTES = 1024 * 1024;

/** Feeds a whole file to `hash`; returns its size. */
export async function hashFile(file: FileHandle, hash: Hash): Promise<number> {
  const buffer = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
  let offset = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
    if (bytesRead === 0) return offset;
    hash.update(buffer.subarray(0, bytesRead));
    offset += bytesRead;
  }
}
