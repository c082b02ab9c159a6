// The object store that programs use: an object and its record are written together, and a read is answered only when it is
// what the record says.

import {
  type ConsistencySession,
  type GetOptions,
  HeptadError,
  isHeptadError,
  type ObjectBody,
  type ObjectInfo,
  type ObjectRead,
  type ObjectStore,
  type Op,
  type PutOptions,
  type StateStore,
} from '@heptad/core';
import type { KeyedMutex } from '../center/keyed-mutex.ts';
import type { ObjectMender } from './object-mender.ts';
import {
  fits,
  formatRecord,
  OBJECTS_PREFIX,
  type ObjectName,
  type ObjectRecord,
  parseRecord,
  recordKey,
} from './object-records.ts';

/** Bytes of an object: it is gathered in memory before it is written, so that a slow sender holds up nobody. */
const OBJECT_BYTES_MAX: number = 64 * 1024 * 1024;
/** Objects listed between two checks of primacy. */
const LIST_BATCH = 100;

/** What the store works with. */
export interface ReplicatedObjectsOptions {
  /** The centre's own. */
  readonly objects: ObjectStore;
  /** The replicated state: fails unless this centre is the serving primary, and returns from a read only if it still is. */
  readonly state: StateStore;
  readonly mender: ObjectMender;
  /** Held while one object is written. */
  readonly writing: KeyedMutex;
  /** A refused write could not be taken back yet; anti-entropy will. */
  readonly onProblem: (name: ObjectName, error: unknown) => void;
}

/**
 * An {@link ObjectStore} over a centre. Not primary: every operation is `NOT_PRIMARY`. A `strong` read (the default) is never of
 * content that a failover could take back, and is healed from another centre when the own copy is damaged or missing;
 * `DATA_CORRUPT` when no centre has what its record says. Weaker reads are of whatever this centre's store answers.
 */
export class ReplicatedObjects implements ObjectStore {
  readonly #options: ReplicatedObjectsOptions;

  constructor(options: ReplicatedObjectsOptions) {
    this.#options = options;
  }

  async put(bucket: string, key: string, body: ObjectBody, options: PutOptions = {}): Promise<ObjectInfo> {
    await this.#requirePrimary();
    const bytes = await gather(body, options.signal);
    const name = { bucket, key };
    return this.#change(
      name,
      () => this.#options.objects.put(bucket, key, bytes, options),
      (info) => ({ op: 'put', key: recordKey(name), value: formatRecord(info) }),
    );
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
    const name = { bucket, key };
    return this.#change(
      name,
      () =>
        this.#options.objects.delete(bucket, key, {
          ...rest,
          ...(consistency === undefined ? {} : { consistency }),
        }),
      () => ({ op: 'delete', key: recordKey(name) }),
    );
  }

  // One at a time for each object: two writers must not leave the content of one with the record of the other.
  async #change<T>(name: ObjectName, act: () => Promise<T>, recordOf: (result: T) => Op): Promise<T> {
    const { state, mender, writing, onProblem } = this.#options;
    let began = false;
    let done = false;
    try {
      return await writing.run(recordKey(name), async () => {
        // Under the lock: from here on no later primary's version of this object comes in before this one is settled.
        await this.#requirePrimary();
        began = true;
        const result = await act();
        done = true;
        await state.txn({ compare: [], success: [recordOf(result)] });
        return result;
      });
    } catch (error) {
      // Not waited for: a centre that is cut off could not do it now. After a crash anti-entropy does it.
      if (began) mender.mend(name, { refused: done }).catch((problem: unknown) => onProblem(name, problem));
      throw error;
    }
  }

  async get(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectRead> {
    const read = (): Promise<ObjectRead> => this.#options.objects.get(bucket, key, options);
    return this.#read({ bucket, key }, options, read, ({ info }) => info);
  }

  async head(bucket: string, key: string, options: GetOptions = {}): Promise<ObjectInfo> {
    const read = (): Promise<ObjectInfo> => this.#options.objects.head(bucket, key, options);
    return this.#read({ bucket, key }, options, read, (info) => info);
  }

  async #read<T>(
    name: ObjectName,
    options: GetOptions,
    read: () => Promise<T>,
    infoOf: (result: T) => ObjectInfo,
  ): Promise<T> {
    const { mender, writing } = this.#options;
    await this.#requirePrimary();
    if (options.consistency !== undefined && options.consistency !== 'strong') {
      const result = await read();
      await this.#requirePrimary();
      return result;
    }
    const first = await this.#compared(name, read, infoOf);
    if (first.fits) return first.settle();
    // A write may be under way: what it brings is not to be seen before it is committed.
    const again = (): Promise<Compared<T>> =>
      writing.run(recordKey(name), () => this.#compared(name, read, infoOf));
    const second = await again();
    // Without a record and without a writer: it was never written through here, and is nobody's but this centre's.
    if (second.fits || second.record === undefined) return second.settle();
    try {
      await mender.mend(name);
    } catch (cause) {
      throw corrupt(name, cause);
    }
    const third = await again();
    if (!third.fits && third.record !== undefined) throw corrupt(name, undefined);
    return third.settle();
  }

  // The record is read after the object: it tells both whether this centre is still primary and whether the object is current.
  async #compared<T>(
    name: ObjectName,
    read: () => Promise<T>,
    infoOf: (result: T) => ObjectInfo,
  ): Promise<Compared<T>> {
    const outcome = await read().then(
      (result) => ({ result, info: infoOf(result) }),
      (error: unknown) => {
        if (isHeptadError(error, 'OBJECT_NOT_FOUND') || isHeptadError(error, 'DATA_CORRUPT'))
          return { error, info: undefined };
        throw error;
      },
    );
    const kv = (await this.#options.state.range({ key: recordKey(name) })).kvs[0];
    const record = kv === undefined ? undefined : parseRecord(kv.value);
    const { info } = outcome;
    return {
      record,
      fits: record === undefined ? info === undefined : info !== undefined && fits(info, record),
      settle: () => {
        if ('error' in outcome) throw outcome.error;
        return outcome.result;
      },
    };
  }

  async *list(
    bucket: string,
    options: { prefix?: string; after?: string; limit?: number; signal?: AbortSignal } = {},
  ): AsyncIterable<ObjectInfo> {
    await this.#requirePrimary();
    let batch: ObjectInfo[] = [];
    for await (const info of this.#options.objects.list(bucket, options)) {
      batch.push(info);
      if (batch.length < LIST_BATCH) continue;
      await this.#requirePrimary();
      yield* batch;
      batch = [];
    }
    await this.#requirePrimary();
    yield* batch;
  }

  // A read of the state fails unless this centre is the serving primary.
  async #requirePrimary(): Promise<void> {
    await this.#options.state.range({ key: OBJECTS_PREFIX, limit: 1 });
  }

  /** Leaves the centre's own store open: whoever opened it closes it. */
  async [Symbol.asyncDispose](): Promise<void> {}
}

interface Compared<T> {
  readonly record: ObjectRecord | undefined;
  /** Whether the object is what its record says, or both are missing. */
  readonly fits: boolean;
  /** What the read returned, or what it threw. */
  readonly settle: () => T;
}

async function gather(body: ObjectBody, signal: AbortSignal | undefined): Promise<string | Uint8Array> {
  if (typeof body === 'string' || body instanceof Uint8Array) return body;
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    signal?.throwIfAborted();
    sizeBytes += chunk.length;
    if (sizeBytes > OBJECT_BYTES_MAX) {
      throw new HeptadError('OBJECT_TOO_LARGE', `cannot store an object of ${sizeBytes} bytes or more`, {
        hint: `objects are at most ${OBJECT_BYTES_MAX} bytes; cut larger data into several`,
        details: { limitBytes: OBJECT_BYTES_MAX },
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, sizeBytes);
}

function corrupt({ bucket, key }: ObjectName, cause: unknown): HeptadError<'DATA_CORRUPT'> {
  const why = cause instanceof Error ? cause.message : 'it differs from its record again';
  return new HeptadError('DATA_CORRUPT', `cannot read ${bucket}/${key}: its copy is damaged; ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    retryable: true,
    hint: 'when a centre with a good copy is only down, it is healed once that is back',
  });
}
