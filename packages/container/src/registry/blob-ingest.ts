// The image store as pull and push need it: the one place of this folder that knows how content is kept.

import { Readable } from 'node:stream';
import type { Clock } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import type { ContentStore } from '../image/content-store.ts';
import type { ContentWriter } from '../image/content-writer.ts';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import { type Descriptor, MAX_MANIFEST_BYTES } from '../image/manifest.ts';

/** One blob being written; what was written by an earlier attempt, even of a process that was killed, is still there. */
export interface BlobWriter {
  /** Bytes written, those of earlier attempts included. */
  readonly offset: number;
  /** Appends; the chunk may reach the disk later, but before {@link commit} or {@link close} resolves. */
  write(chunk: Uint8Array): Promise<void>;
  /** Starts over. */
  restart(): Promise<void>;
  /** Verifies and names the blob. Throws `DIGEST_MISMATCH`, and then nothing stays. */
  commit(): Promise<void>;
  /** Ends the write and keeps the bytes for later. */
  close(): Promise<void>;
  /** Ends the write and drops the bytes. */
  abort(): Promise<void>;
}

/** Keeps what is being pulled from garbage collection until it has its name, or until this is disposed of. */
export interface Hold extends AsyncDisposable {
  /** Blobs that are here, are on their way, or will be. Look whether they are here only after this. */
  blobs(descriptors: readonly Descriptor[]): Promise<void>;
  /** Extracted layers by ChainID. */
  layers(chain: readonly Digest[]): Promise<void>;
}

/** Content that is looked for, written and read by digest. */
export interface BlobIngest {
  /** Begins to hold; what it holds ends with it, or a day after we were killed. */
  hold(): Promise<Hold>;
  /** Whether the blob is here; if so garbage collection spares it for its minimum age. */
  keep(descriptor: Descriptor): Promise<boolean>;
  /** Opens the write of a blob; undefined when it has arrived meanwhile, by whoever was writing it. */
  writer(descriptor: Descriptor, signal?: AbortSignal): Promise<BlobWriter | undefined>;
  /** Stores a small blob. */
  put(bytes: Uint8Array, descriptor: Descriptor): Promise<void>;
  /** A small blob, verified; undefined when it is not here. */
  bytes(digest: Digest): Promise<Uint8Array | undefined>;
  /** A blob from byte `start` on, `length` bytes of it. */
  stream(digest: Digest, start: number, length: number): Readable;
  /** Extracts a layer over its parent, unless that was done before. */
  unpack(layer: Descriptor, diffId: Digest, chainId: Digest, parent: Digest | undefined): Promise<void>;
}

// One write to the disk and one turn of the thread pool for this much; sockets give 16 to 64 KiB at a time.
const WRITE_BYTES = 1024 * 1024;
// Another process writes the same blob; a layer takes seconds, so this is soon enough.
const BUSY_POLL_MS = 100;

const ingests = new WeakMap<ImageStore, StoreIngest>();

/** The content of an image store. */
export function ingestOf(images: ImageStore): BlobIngest {
  let ingest = ingests.get(images);
  if (ingest === undefined) {
    ingest = new StoreIngest(images);
    ingests.set(images, ingest);
  }
  return ingest;
}

class StoreIngest implements BlobIngest {
  private readonly images: ImageStore;
  private readonly clock: Clock;

  constructor(images: ImageStore) {
    this.images = images;
    this.clock = images.clock;
  }

  async hold(): Promise<Hold> {
    const lease = await this.images.leases.create();
    return {
      blobs: (descriptors) =>
        lease.add(
          ...descriptors.flatMap(({ digest }) => [
            { kind: 'content' as const, id: digest },
            { kind: 'ingest' as const, id: refOf(digest) },
          ]),
        ),
      layers: (chain) => lease.add(...chain.map((id) => ({ kind: 'snapshot' as const, id }))),
      [Symbol.asyncDispose]: () => lease.release(),
    };
  }

  async keep({ digest, size }: Descriptor): Promise<boolean> {
    const info = await this.images.content.info(digest);
    if (info?.size !== size) return false;
    return (await this.images.content.touch(digest, this.clock.now())) !== undefined;
  }

  async writer(descriptor: Descriptor, signal?: AbortSignal): Promise<BlobWriter | undefined> {
    for (;;) {
      try {
        const { digest, size } = descriptor;
        const target = await this.images.content.writer(refOf(digest), { digest, size });
        return new BatchWriter(this.images.content, target, descriptor);
      } catch (error) {
        if (isHeptadError(error, 'ALREADY_EXISTS') && (await this.keep(descriptor))) return undefined;
        if (!isHeptadError(error, 'REF_IN_USE')) throw error;
        await this.clock.sleep(BUSY_POLL_MS, signal);
        if (await this.keep(descriptor)) return undefined;
      }
    }
  }

  async put(bytes: Uint8Array, descriptor: Descriptor): Promise<void> {
    if (await this.keep(descriptor)) return;
    const writer = await this.writer(descriptor);
    if (writer === undefined) return;
    try {
      await writer.restart();
      await writer.write(bytes);
      await writer.commit();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  async bytes(digest: Digest): Promise<Uint8Array | undefined> {
    if ((await this.images.content.touch(digest, this.clock.now())) === undefined) return undefined;
    return await this.images.content.readBytes(digest, MAX_MANIFEST_BYTES);
  }

  stream(digest: Digest, start: number, length: number): Readable {
    return Readable.from(this.slice(digest, start, length), { objectMode: false });
  }

  async unpack(
    layer: Descriptor,
    diffId: Digest,
    chainId: Digest,
    parent: Digest | undefined,
  ): Promise<void> {
    await this.images.snapshots.applyLayer(this.images.content, layer, diffId, chainId, parent);
  }

  private async *slice(digest: Digest, start: number, length: number): AsyncGenerator<Uint8Array> {
    if (length === 0) return;
    yield* await this.images.content.read(digest, { start, end: start + length - 1 });
  }
}

/** By digest alone, so that a download is taken up again whichever repository and process it began for. */
function refOf(digest: Digest): string {
  return `registry-${digest}`;
}

class BatchWriter implements BlobWriter {
  private readonly content: ContentStore;
  private readonly target: ContentWriter;
  private readonly descriptor: Descriptor;
  // One buffer for the whole blob: a new one for each write would keep the garbage collector busy.
  private readonly pending: Buffer;
  private pendingBytes = 0;

  constructor(content: ContentStore, target: ContentWriter, descriptor: Descriptor) {
    this.content = content;
    this.target = target;
    this.descriptor = descriptor;
    this.pending = Buffer.allocUnsafeSlow(Math.max(1, Math.min(WRITE_BYTES, descriptor.size)));
  }

  get offset(): number {
    return this.target.offset + this.pendingBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + this.pending.length - this.pendingBytes);
      this.pending.set(part, this.pendingBytes);
      this.pendingBytes += part.length;
      at += part.length;
      if (this.pendingBytes === this.pending.length) await this.flush();
    }
  }

  async restart(): Promise<void> {
    this.pendingBytes = 0;
    await this.target.truncate();
  }

  async commit(): Promise<void> {
    const { digest, size } = this.descriptor;
    await this.flush();
    try {
      await this.target.commit({ digest, size });
    } catch (error) {
      // Somebody else was faster.
      if (isHeptadError(error) && error.code === 'ALREADY_EXISTS') return;
      // Bytes that are not what they should be are of no use to a later attempt.
      if (isHeptadError(error, 'DIGEST_MISMATCH')) await this.content.abort(refOf(digest));
      throw error;
    }
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.target.close();
    }
  }

  async abort(): Promise<void> {
    this.pendingBytes = 0;
    await this.target.abort();
  }

  private async flush(): Promise<void> {
    if (this.pendingBytes === 0) return;
    const chunk = this.pending.subarray(0, this.pendingBytes);
    // Written before the buffer is filled again, and counted once: while it is written, `offset` is the target's.
    this.pendingBytes = 0;
    await this.target.write(chunk);
  }
}
