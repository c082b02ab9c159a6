// Objects on their way between centres: piece by piece, and hashed as a whole where they arrive.

import { createHash } from 'node:crypto';
import { errorMessage, HeptadError, type ObjectStore } from '@heptad/core';
import { z } from 'zod';
import type { ObjectName, ObjectRecord } from './object-records.ts';

/** Bytes of an object in one message; base64 makes it a third more. */
const PIECE_BYTES: number = 4 * 1024 * 1024;
/** A piece crosses a slow line (3 Mbit/s) within this time; the next centre is asked after it. */
const PIECE_TIMEOUT_MS = 15_000;

/** A piece of an object on its way to another centre. */
export interface ObjectPiece extends ObjectRecord {
  readonly base64: string;
}

const pieceSchema: z.ZodType<ObjectPiece> = z.object({
  base64: z.string(),
  sizeBytes: z.number(),
  sha256: z.string(),
  metadata: z.record(z.string(), z.string()),
});

/** What transfers work with. */
export interface ObjectTransferOptions {
  /** The centre's own. */
  readonly objects: ObjectStore;
  readonly call: (
    center: string,
    method: string,
    message: unknown,
    timeoutMs: number,
    signal?: AbortSignal,
  ) => Promise<unknown>;
  /** Ends all transfers. */
  readonly signal?: AbortSignal;
  /** The other centres that hold data. */
  readonly others: () => readonly string[];
}

/** Moves objects between this centre and others. */
export class ObjectTransfer {
  readonly #options: ObjectTransferOptions;

  constructor(options: ObjectTransferOptions) {
    this.#options = options;
  }

  /**
   * Brings in an object with exactly the content of its record, from `first` or else from whichever centre has it. Error:
   * `OBJECT_NOT_REPLICATED` with what each said.
   */
  fetch(name: ObjectName, record: ObjectRecord, first: string | undefined): Promise<void> {
    return this.#fromAny(name, first, (center) => this.#copy(center, name, record));
  }

  /** As {@link fetch}, but into memory: so that whoever puts it in its place need hold no lock meanwhile. */
  download(name: ObjectName, record: ObjectRecord, first: string | undefined): Promise<Uint8Array> {
    return this.#fromAny(name, first, async (center) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of this.#pieces(center, name, record)) pieces.push(piece);
      return Buffer.concat(pieces);
    });
  }

  async #fromAny<T>(
    name: ObjectName,
    first: string | undefined,
    take: (center: string) => Promise<T>,
  ): Promise<T> {
    const others = this.#options.others().filter((other) => other !== first);
    const problems: string[] = [];
    for (const center of first === undefined ? others : [first, ...others]) {
      try {
        return await take(center);
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        problems.push(`${center}: ${errorMessage(error)}`);
      }
    }
    throw new HeptadError(
      'OBJECT_NOT_REPLICATED',
      `cannot bring in ${name.bucket}/${name.key}: ${problems.join('; ') || 'there is no other centre with objects'}`,
      { retryable: true },
    );
  }

  /** Brings in an object as `center` has it now, whatever it is. Error: `OBJECT_NOT_FOUND`. */
  async fetchPresent(name: ObjectName, center: string): Promise<void> {
    const { sha256, sizeBytes, metadata } = await this.#piece(center, name, 0);
    await this.#copy(center, name, { sha256, sizeBytes, metadata });
  }

  async #copy(center: string, name: ObjectName, record: ObjectRecord): Promise<void> {
    const { metadata } = record;
    await this.#options.objects.put(name.bucket, name.key, this.#pieces(center, name, record), { metadata });
  }

  async *#pieces(center: string, name: ObjectName, record: ObjectRecord): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256');
    let offset = 0;
    do {
      const piece = await this.#piece(center, name, offset);
      if (piece.sha256 !== record.sha256) throw differs(piece.sha256, record.sha256);
      const bytes = Buffer.from(piece.base64, 'base64');
      if (bytes.length === 0 && offset < record.sizeBytes) {
        throw new HeptadError('CHECKSUM_MISMATCH', `it ended after ${offset} of ${record.sizeBytes} bytes`);
      }
      offset += bytes.length;
      hash.update(bytes);
      yield bytes;
    } while (offset < record.sizeBytes);
    // Thrown before the body ends: the store never sees a whole object with the wrong content.
    const received = hash.digest('hex');
    if (received !== record.sha256) throw differs(received, record.sha256);
  }

  async #piece(center: string, { bucket, key }: ObjectName, offset: number): Promise<ObjectPiece> {
    const { call, signal } = this.#options;
    return pieceSchema.parse(await call(center, 'object', { bucket, key, offset }, PIECE_TIMEOUT_MS, signal));
  }

  /** Gives another centre a piece of an object. Errors: those of the object store; `OBJECT_CHANGED`. */
  async give({ bucket, key }: ObjectName, offset: number): Promise<ObjectPiece> {
    const { objects } = this.#options;
    const { sha256, sizeBytes, metadata } = await objects.head(bucket, key);
    if (offset >= sizeBytes) return { base64: '', sha256, sizeBytes, metadata: { ...metadata } };
    const end = Math.min(sizeBytes, offset + PIECE_BYTES) - 1;
    const read = await objects.get(bucket, key, { range: { start: offset, end } });
    if (read.info.sha256 !== sha256)
      throw new HeptadError('OBJECT_CHANGED', `${bucket}/${key} changed while it was read`);
    const base64 = Buffer.from(read.body).toString('base64');
    return { base64, sha256, sizeBytes, metadata: { ...metadata } };
  }
}

function differs(is: string, wanted: string): HeptadError<'CHECKSUM_MISMATCH'> {
  return new HeptadError(
    'CHECKSUM_MISMATCH',
    `it has content ${is.slice(0, 12)}, not ${wanted.slice(0, 12)}`,
  );
}
