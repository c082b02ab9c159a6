// Replication of objects. Every write through here leaves a record in the replicated state: the change feed. A backup brings in
// the object a record speaks of before it applies (and so acknowledges) the record: hence a committed record means that enough
// backups have the object, durably and with the right checksum.

import {
  type ConsistencySession,
  errorMessage,
  type GetOptions,
  HeptadError,
  isHeptadError,
  type ObjectBody,
  type ObjectInfo,
  type ObjectRead,
  type ObjectStore,
  type PutOptions,
  type StateStore,
} from '@heptad/core';
import { z } from 'zod';
import type { EntryOp } from '../center/messages.ts';

/** Prefix of the records: `/dr/objects/<bucket>/<key>`. */
export const OBJECTS_PREFIX = '/dr/objects/';
/** Bytes of an object in one message; base64 makes it a third more. */
const PIECE_BYTES: number = 4 * 1024 * 1024;
const PIECE_TIMEOUT_MS = 15_000;

/** What the state knows of an object. */
export interface ObjectRecord {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
}

const recordSchema: z.ZodType<ObjectRecord> = z.object({
  sha256: z.string(),
  sizeBytes: z.number(),
  metadata: z.record(z.string(), z.string()),
});
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

/** What object replication works with. */
export interface ObjectReplicationOptions {
  /** The centre's own. */
  readonly objects: ObjectStore;
  /** The centre's own copy of the state. */
  readonly state: StateStore;
  readonly call: (center: string, method: string, message: unknown, timeoutMs: number) => Promise<unknown>;
  /** The other centres that hold data. */
  readonly others: () => readonly string[];
}

function recordKey(bucket: string, key: string): string {
  return `${OBJECTS_PREFIX}${bucket}/${key}`;
}

function parseRecordKey(key: string): { readonly bucket: string; readonly key: string } | undefined {
  if (!key.startsWith(OBJECTS_PREFIX)) return undefined;
  const rest = key.slice(OBJECTS_PREFIX.length);
  const slash = rest.indexOf('/');
  return slash < 0 ? undefined : { bucket: rest.slice(0, slash), key: rest.slice(slash + 1) };
}

/** Replicates the objects of one centre. */
export class ObjectReplication {
  readonly #options: ObjectReplicationOptions;
  #store: ReplicatedObjects | undefined;

  constructor(options: ObjectReplicationOptions) {
    this.#options = options;
  }

  /** Gives it the replicated state, through which records are written. */
  attach(state: StateStore): void {
    this.#store = new ReplicatedObjects(this.#options.objects, state);
  }

  get store(): ObjectStore {
    if (this.#store === undefined) throw new HeptadError('NOT_SUPPORTED', 'objects are not attached yet');
    return this.#store;
  }

  /** Brings in every object that these changes speak of. Rejects when one cannot be had: it is then tried again. */
  async bringIn(ops: readonly EntryOp[], from: string): Promise<void> {
    for (const op of ops) {
      const name = parseRecordKey(op.key);
      if (name === undefined) continue;
      if (op.op === 'delete') await this.#options.objects.delete(name.bucket, name.key);
      else await this.#fetch(name, recordSchema.parse(JSON.parse(op.value)), from);
    }
  }

  async #fetch(name: { bucket: string; key: string }, record: ObjectRecord, from: string): Promise<void> {
    if ((await this.#head(name.bucket, name.key))?.sha256 === record.sha256) return;
    const problems: string[] = [];
    // The primary first; another backup may have it when the primary's own was overwritten meanwhile.
    for (const center of [from, ...this.#options.others().filter((other) => other !== from)]) {
      try {
        const pieces = this.#pieces(center, name, record);
        const { metadata } = record;
        await this.#options.objects.put(name.bucket, name.key, pieces, { metadata });
        return;
      } catch (error) {
        problems.push(`${center}: ${errorMessage(error)}`);
      }
    }
    if (await this.#superseded(name, from)) return;
    throw new HeptadError(
      'OBJECT_NOT_REPLICATED',
      `cannot bring in ${name.bucket}/${name.key}: ${problems.join('; ')}`,
      {
        retryable: true,
      },
    );
  }

  // The object was overwritten or deleted since: a later record says what it is now, and comes with its own object. Until then
  // the newer object stands in: a write that was under way may take effect, but an acknowledged one must not vanish.
  async #superseded(name: { bucket: string; key: string }, from: string): Promise<boolean> {
    try {
      const piece = await this.#piece(from, name, 0);
      const record = { sha256: piece.sha256, sizeBytes: piece.sizeBytes, metadata: piece.metadata };
      await this.#options.objects.put(name.bucket, name.key, this.#pieces(from, name, record), {
        metadata: piece.metadata,
      });
      return true;
    } catch (error) {
      if (!isHeptadError(error, 'OBJECT_NOT_FOUND')) return false;
      await this.#options.objects.delete(name.bucket, name.key);
      return true;
    }
  }

  async *#pieces(
    center: string,
    name: { bucket: string; key: string },
    record: ObjectRecord,
  ): AsyncGenerator<Uint8Array> {
    let offset = 0;
    do {
      const piece = await this.#piece(center, name, offset);
      if (piece.sha256 !== record.sha256) {
        throw new HeptadError(
          'CHECKSUM_MISMATCH',
          `it has content ${piece.sha256.slice(0, 12)}, not ${record.sha256.slice(0, 12)}`,
        );
      }
      const bytes = Buffer.from(piece.base64, 'base64');
      offset += bytes.length;
      yield bytes;
      if (bytes.length === 0 && offset < record.sizeBytes) {
        throw new HeptadError('CHECKSUM_MISMATCH', `it ended after ${offset} of ${record.sizeBytes} bytes`);
      }
    } while (offset < record.sizeBytes);
  }

  async #piece(center: string, name: { bucket: string; key: string }, offset: number): Promise<ObjectPiece> {
    return pieceSchema.parse(
      await this.#options.call(center, 'object', { ...name, offset }, PIECE_TIMEOUT_MS),
    );
  }

  /** Gives another centre a piece of an object. */
  async give(bucket: string, key: string, offset: number): Promise<ObjectPiece> {
    const { objects } = this.#options;
    const info = await objects.head(bucket, key);
    const { sha256, sizeBytes, metadata } = info;
    if (offset >= sizeBytes) return { base64: '', sha256, sizeBytes, metadata: { ...metadata } };
    const end = Math.min(sizeBytes, offset + PIECE_BYTES) - 1;
    const read = await objects.get(bucket, key, { range: { start: offset, end } });
    if (read.info.sha256 !== sha256)
      throw new HeptadError('OBJECT_CHANGED', `${bucket}/${key} changed while it was read`);
    return {
      base64: Buffer.from(read.body).toString('base64'),
      sha256,
      sizeBytes,
      metadata: { ...metadata },
    };
  }

  /**
   * Compares what the records say with what is really here, and brings in what is missing or different (anti-entropy).
   * Resolves with what it found.
   */
  async repair(from: string): Promise<{ readonly checked: number; readonly repaired: readonly string[] }> {
    const { kvs } = await this.#options.state.range({ key: OBJECTS_PREFIX, prefix: true });
    const repaired: string[] = [];
    for (const { key, value } of kvs) {
      const name = parseRecordKey(key);
      if (name === undefined) continue;
      const record = recordSchema.parse(JSON.parse(value));
      if ((await this.#head(name.bucket, name.key))?.sha256 === record.sha256) continue;
      await this.#fetch(name, record, from);
      repaired.push(`${name.bucket}/${name.key}`);
    }
    return { checked: kvs.length, repaired };
  }

  async #head(bucket: string, key: string): Promise<ObjectInfo | undefined> {
    try {
      return await this.#options.objects.head(bucket, key);
    } catch (error) {
      if (isHeptadError(error, 'OBJECT_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

/** The face programs write to. */
class ReplicatedObjects implements ObjectStore {
  readonly #objects: ObjectStore;
  readonly #state: StateStore;

  constructor(objects: ObjectStore, state: StateStore) {
    this.#objects = objects;
    this.#state = state;
  }

  async put(bucket: string, key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    await this.#requirePrimary();
    const info = await this.#objects.put(bucket, key, body, options);
    const { sha256, sizeBytes, metadata } = info;
    const value = JSON.stringify({ sha256, sizeBytes, metadata });
    await this.#state.txn({ compare: [], success: [{ op: 'put', key: recordKey(bucket, key), value }] });
    return info;
  }

  async get(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectRead> {
    await this.#requirePrimary();
    return this.#objects.get(bucket, key, options);
  }

  async head(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectInfo> {
    await this.#requirePrimary();
    return this.#objects.head(bucket, key, options);
  }

  async delete(
    bucket: string,
    key: string,
    options: {
      consistency?: PutOptions['consistency'];
      session?: ConsistencySession;
      ifMatch?: string;
      signal?: AbortSignal;
    } = {},
  ): Promise<void> {
    await this.#requirePrimary();
    const { consistency, ...rest } = options;
    await this.#objects.delete(bucket, key, {
      ...rest,
      ...(consistency === undefined ? {} : { consistency }),
    });
    await this.#state.txn({ compare: [], success: [{ op: 'delete', key: recordKey(bucket, key) }] });
  }

  async *list(
    bucket: string,
    options: { prefix?: string; after?: string; limit?: number; signal?: AbortSignal } = {},
  ): AsyncIterable<ObjectInfo> {
    await this.#requirePrimary();
    yield* this.#objects.list(bucket, options);
  }

  // A read of the state fails unless this centre is the serving primary.
  async #requirePrimary(): Promise<void> {
    await this.#state.range({ key: OBJECTS_PREFIX, limit: 1 });
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
