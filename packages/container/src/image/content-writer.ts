// One blob on its way into the store: appended, verified, made durable, and only then given its name.

import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { type FileHandle, rename, stat, utimes } from 'node:fs/promises';
import type { Clock } from '@heptad/core';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { syncDirectory, unlinkIfAny } from '../system/files.ts';
import type { KernelLock, KernelMutex } from '../system/kernel-lock.ts';
import type { ContentLabels, Labels } from './content-labels.ts';
import { type Digest, digestHex, digestOf } from './digest.ts';

/** What the store knows of one blob. Times are milliseconds since 1970. */
export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly createdAt: number;
  /** When its labels were last changed; `createdAt` when never. */
  readonly updatedAt: number;
  /** When it was last written or wanted by a write: garbage collection spares what is young. */
  readonly touchedAt: number;
  readonly labels: Labels;
}

/** What a blob must turn out to be, and how it is labelled. */
export interface ExpectedContent {
  readonly digest?: Digest;
  /** Bytes. */
  readonly size?: number;
  /** Given to the blob when it is committed. */
  readonly labels?: Labels;
}

/** How far an unfinished write is. Times are milliseconds since 1970. */
export interface IngestStatus {
  readonly ref: string;
  /** Bytes written. */
  readonly offset: number;
  /** Bytes expected; absent when the writer did not say. */
  readonly total?: number;
  readonly expected?: Digest;
  readonly startedAt: number;
  readonly updatedAt: number;
}

/** What a writer works on. */
export interface WriterState {
  readonly ref: string;
  readonly file: FileHandle;
  readonly hash: Hash;
  readonly offset: number;
  readonly startedAt: number;
  readonly expected: ExpectedContent;
  /** The file being written. */
  readonly path: string;
  /** The file that describes the write. */
  readonly description: string;
  readonly blobs: string;
  readonly labels: ContentLabels;
  readonly clock: Clock;
  /** Keeps another writer off the same ref. */
  readonly lock: KernelLock;
  /** Takes that lock again after the writer has ended; undefined when another has it. */
  readonly relock: () => Promise<KernelLock | undefined>;
  /** Keeps garbage collection off while a blob gets its name. */
  readonly guard: KernelMutex;
}

/** One blob being written. `commit`, `abort` and `close` end it. */
export class ContentWriter {
  private readonly state: WriterState;
  private hash: Hash;
  private written: number;
  private open = true;
  private named = false;

  constructor(state: WriterState) {
    this.state = state;
    this.hash = state.hash;
    this.written = state.offset;
  }

  /** Bytes written so far, those of earlier attempts included. */
  get offset(): number {
    return this.written;
  }

  /** Digest of what is written so far. */
  get digest(): Digest {
    return `sha256:${this.hash.copy().digest('hex')}`;
  }

  /** How far the write is. */
  async status(): Promise<IngestStatus> {
    const { ref, file, expected, startedAt } = this.state;
    const { mtimeMs } = await file.stat();
    return {
      ref,
      offset: this.written,
      ...(expected.size === undefined ? {} : { total: expected.size }),
      ...(expected.digest === undefined ? {} : { expected: expected.digest }),
      startedAt,
      updatedAt: mtimeMs,
    };
  }

  /** Appends. Throws `NO_SPACE`, `READ_ONLY`; what was written before stays, and can be taken up again. */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      await this.state.file.appendFile(chunk);
    } catch (error) {
      // How much of the chunk arrived is unknown: back to where digest and file agree.
      await this.state.file.truncate(this.written).catch(() => undefined);
      throw diskError(error, `write content "${this.state.ref}"`);
    }
    this.hash.update(chunk);
    this.written += chunk.length;
  }

  /** Drops what lies beyond `size` bytes; without an argument, everything. */
  async truncate(size = 0): Promise<void> {
    if (size > this.written || size < 0) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot cut content "${this.state.ref}" at ${size}: it has ${this.written} bytes`,
      );
    }
    if (size === this.written) return;
    await this.state.file.truncate(size).catch((error: unknown) => {
      throw diskError(error, `cut content "${this.state.ref}"`);
    });
    this.hash = createHash('sha256');
    this.written = await hashFile(this.state.file, this.hash);
  }

  /**
   * Verifies, makes durable and names the blob. Ends the writer whatever happens.
   *
   * Throws `DIGEST_MISMATCH` when it is not what was expected (what was written stays, for a writer that truncates or
   * appends), `ALREADY_EXISTS` when the store has the blob (what was written goes), `NO_SPACE`, `READ_ONLY`.
   */
  async commit(expected: ExpectedContent = {}): Promise<BlobInfo> {
    const all: ExpectedContent = { ...this.state.expected, ...expected };
    const digest = this.digest;
    try {
      this.verify(digest, all);
      await this.requireAgreement();
      const now = this.state.clock.now();
      await this.state.file.utimes(now / 1000, now / 1000);
      await this.state.file.sync();
      const exists = await this.state.guard.run(() => this.publish(digest, all.labels));
      this.named = true;
      if (exists) {
        throw new ContainerError('ALREADY_EXISTS', `content ${digest} is in the store already`, {
          details: { digest },
        });
      }
      await syncDirectory(this.state.blobs);
      await unlinkIfAny(this.state.description);
      return {
        digest,
        size: this.written,
        createdAt: now,
        updatedAt: now,
        touchedAt: now,
        labels: all.labels ?? {},
      };
    } catch (error) {
      throw diskError(error, `store ${digest}`);
    } finally {
      await this.close();
    }
  }

  /** Drops what was written, also after a commit that failed and kept it. */
  async abort(): Promise<void> {
    if (this.open) {
      await removeIngest(this.state.path, this.state.description);
      await this.close();
      return;
    }
    if (this.named) return;
    // Another writer may have gone on with the bytes meanwhile; then they are its own.
    const lock = await this.state.relock();
    if (lock === undefined) return;
    try {
      await removeIngest(this.state.path, this.state.description);
    } finally {
      await lock.release();
    }
  }

  /** Ends the write but keeps the bytes, for a later writer of the same ref. */
  async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.state.file.close();
    await this.state.lock.release();
  }

  private verify(digest: Digest, expected: ExpectedContent): void {
    const wrong =
      expected.size !== undefined && expected.size !== this.written
        ? `it has ${this.written} bytes, expected were ${expected.size}`
        : expected.digest !== undefined && expected.digest !== digest
          ? `its digest is ${digest}, expected was ${expected.digest}`
          : undefined;
    if (wrong === undefined) return;
    throw new ContainerError('DIGEST_MISMATCH', `refused content: ${wrong}`, {
      hint: 'the source is damaged or was tampered with; fetch it again',
      details: { ref: this.state.ref, expected: expected.digest, actual: digest },
    });
  }

  /** A failed write that could not be undone, or another hand on the file, must not become a blob. */
  private async requireAgreement(): Promise<void> {
    const { size } = await this.state.file.stat();
    if (size === this.written) return;
    throw new ContainerError(
      'DIGEST_MISMATCH',
      `refused content "${this.state.ref}": ${this.written} bytes were written, the file has ${size}`,
      { hint: 'write it again' },
    );
  }

  /** Gives the blob its name; true when it has been here before, which the sweep of a collection must not undo. */
  private async publish(digest: Digest, labels: Labels | undefined): Promise<boolean> {
    const { blobs, path, description, clock } = this.state;
    const target = `${blobs}/${digestHex(digest)}`;
    const present = await stat(target).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    // One of another size is damaged, and ours takes its place.
    if (present?.size === this.written) {
      await utimes(target, clock.now() / 1000, present.mtimeMs / 1000);
      await removeIngest(path, description);
      return true;
    }
    // Labels first: when the blob appears, what keeps it from being collected is there.
    await this.state.labels.replace(digest, labels ?? {});
    await rename(path, target);
    return false;
  }
}

/** Path of a write's file: a ref with its slashes and its length is no file name. */
export function ingestName(ref: string): string {
  return digestOf(ref).slice('sha256:'.length);
}

/** Deletes an unfinished write. */
export async function removeIngest(path: string, description: string): Promise<void> {
  await unlinkIfAny(path);
  await unlinkIfAny(description);
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
