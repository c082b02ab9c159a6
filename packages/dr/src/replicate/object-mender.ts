// The mender: compares one object with its record and, where they differ, makes the object what the record says.

import { isHeptadError, type ObjectInfo, type ObjectStore, type StateStore } from '@heptad/core';
import type { KeyedMutex } from '../center/keyed-mutex.ts';
import { fits, type ObjectName, type ObjectRecord, parseRecord, recordKey } from './object-records.ts';
import type { ObjectTransfer } from './object-transfer.ts';

/** What mending works with. */
export interface ObjectMenderOptions {
  /** The centre's own. */
  readonly objects: ObjectStore;
  /** The centre's own copy of the state. */
  readonly state: StateStore;
  readonly transfer: ObjectTransfer;
  /** Held while one object is written. */
  readonly writing: KeyedMutex;
  /**
   * Runs an action while no entry is being taken in: between an object's arrival and its record's the two differ rightly, and
   * to bring back the old object then would break what is about to be acknowledged.
   */
  readonly betweenEntries: (action: () => Promise<void>) => Promise<void>;
  /** Whom to ask first. */
  readonly primary: () => string | undefined;
}

/** Mends the objects of one centre. */
export class ObjectMender {
  readonly #options: ObjectMenderOptions;

  constructor(options: ObjectMenderOptions) {
    this.#options = options;
  }

  /**
   * Reads an object whole and compares it with its record. Resolves with the record and whether the object fits it: a header
   * alone would not tell that the bytes behind it have rotted.
   */
  async check(
    name: ObjectName,
  ): Promise<{ readonly record: ObjectRecord | undefined; readonly ok: boolean }> {
    const { objects, state } = this.#options;
    const kv = (await state.range({ key: recordKey(name) })).kvs[0];
    if (kv === undefined) return { record: undefined, ok: true };
    const record = parseRecord(kv.value);
    const info = await present(objects.get(name.bucket, name.key).then((read) => read.info));
    return { record, ok: info !== undefined && fits(info, record) };
  }

  /**
   * Makes an object what its record says, from any centre that has it. Resolves with whether there was something to do. An
   * object without a record is left alone, as it may have been there before replication; with `refused` it is known to come
   * from a refused write, and goes. Error: `OBJECT_NOT_REPLICATED`.
   */
  async mend(name: ObjectName, options: { readonly refused?: boolean } = {}): Promise<boolean> {
    const { objects, transfer, writing, betweenEntries, primary } = this.#options;
    const { refused = false } = options;
    const seen = await this.check(name);
    if (seen.ok && !(refused && seen.record === undefined)) return false;
    // Before the locks: a centre that is slow to answer must not hold up what is replicated meanwhile.
    const content =
      seen.record === undefined ? undefined : await transfer.download(name, seen.record, primary());
    let mended = false;
    // This order everywhere: entries are taken in under the first lock and ask for the second.
    await betweenEntries(() =>
      writing.run(recordKey(name), async () => {
        // Looked at again: what was seen without the locks may have been a write under way.
        const { record, ok } = await this.check(name);
        if (record === undefined && refused) await objects.delete(name.bucket, name.key);
        if (record === undefined || ok || content === undefined) return;
        // Another version came in meanwhile: when that is damaged too, it is found the next time.
        if (record.sha256 !== seen.record?.sha256) return;
        await objects.put(name.bucket, name.key, content, { metadata: record.metadata });
        mended = true;
      }),
    );
    return mended;
  }
}

/** An object's info, or undefined when it is missing or damaged: either way it must be brought in again. */
export async function present(info: Promise<ObjectInfo>): Promise<ObjectInfo | undefined> {
  try {
    return await info;
  } catch (error) {
    if (isHeptadError(error, 'OBJECT_NOT_FOUND') || isHeptadError(error, 'DATA_CORRUPT')) return undefined;
    throw error;
  }
}
