// Replication of objects. Every write leaves a record in the replicated state: the change feed. A backup brings in the object a
// record speaks of before it applies (and so acknowledges) the record: hence a committed record means that enough backups have
// the object, durably and with the right checksum.

import {
  type Clock,
  errorMessage,
  HeptadError,
  isHeptadError,
  type ObjectStore,
  type StateStore,
  type Timer,
} from '@heptad/core';
import { KeyedMutex } from '../center/keyed-mutex.ts';
import type { EntryOp } from '../center/messages.ts';
import { ANTI_ENTROPY_INTERVAL_MS, AntiEntropy } from './anti-entropy.ts';
import { ObjectMender, present } from './object-mender.ts';
import { fits, type ObjectName, type ObjectRecord, parseRecord, parseRecordKey } from './object-records.ts';
import { type ObjectPiece, ObjectTransfer, type ObjectTransferOptions } from './object-transfer.ts';
import { ReplicatedObjects } from './replicated-objects.ts';

/** What object replication works with. */
export interface ObjectReplicationOptions extends ObjectTransferOptions {
  /** The centre's own copy of the state. */
  readonly state: StateStore;
}

/** What it needs of its centre. */
export interface ObjectsCenter {
  /** The replicated state, through which records are written. */
  readonly state: StateStore;
  readonly primary: () => string | undefined;
  /** Whether the copy of the state is whole: records of one that is being rebuilt say nothing. */
  readonly whole: () => boolean;
  /** Runs an action while no entry is being taken in. */
  readonly betweenEntries: (action: () => Promise<void>) => Promise<void>;
  readonly onEvent: (message: string) => void;
}

/** Replicates the objects of one centre. */
export class ObjectReplication implements AsyncDisposable {
  readonly #options: ObjectReplicationOptions;
  readonly #transfer: ObjectTransfer;
  readonly #writing = new KeyedMutex();
  readonly #stop = new AbortController();
  #center: ObjectsCenter | undefined;
  #store: ReplicatedObjects | undefined;
  #antiEntropy: AntiEntropy | undefined;
  #schedule: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #failed = '';

  constructor(options: ObjectReplicationOptions) {
    this.#options = options;
    this.#transfer = new ObjectTransfer({ ...options, signal: this.#stop.signal });
  }

  /** Gives it its centre. */
  attach(center: ObjectsCenter): void {
    this.#center = center;
    const { objects, state } = this.#options;
    const writing = this.#writing;
    const { betweenEntries, primary, onEvent } = center;
    const mender = new ObjectMender({
      objects,
      state,
      transfer: this.#transfer,
      writing,
      betweenEntries,
      primary,
    });
    this.#store = new ReplicatedObjects({
      objects,
      state: center.state,
      mender,
      writing,
      onProblem: ({ bucket, key }, error) =>
        onEvent(`the refused write of ${bucket}/${key} is not taken back yet: ${errorMessage(error)}`),
    });
    this.#antiEntropy = new AntiEntropy({ state, mender });
  }

  /** Begins anti-entropy. */
  begin(clock: Clock): void {
    this.#schedule = clock.interval(ANTI_ENTROPY_INTERVAL_MS, () => {
      this.#round = this.#repair();
    });
  }

  async #repair(): Promise<void> {
    const antiEntropy = this.#antiEntropy;
    const center = this.#center;
    if (antiEntropy === undefined || center === undefined || !center.whole()) return;
    const { onEvent } = center;
    try {
      const { repaired, failed } = await antiEntropy.round(this.#stop.signal);
      if (repaired.length > 0)
        onEvent(`objects that differed from their record are mended: ${named(repaired)}`);
      const problem = named(failed);
      // Said once, not every minute.
      if (problem !== this.#failed && failed.length > 0) onEvent(`objects cannot be mended now: ${problem}`);
      this.#failed = problem;
    } catch (error) {
      if (!this.#stop.signal.aborted) onEvent(`anti-entropy of objects failed: ${errorMessage(error)}`);
    }
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
      // Behind a write of this centre's own last moments as primary, which would else land on top.
      await this.#writing.run(op.key, async () => {
        if (op.op === 'delete') await this.#options.objects.delete(name.bucket, name.key);
        else await this.#bringInOne(name, parseRecord(op.value), from);
      });
    }
  }

  async #bringInOne(name: ObjectName, record: ObjectRecord, from: string): Promise<void> {
    const info = await present(this.#options.objects.head(name.bucket, name.key));
    if (info !== undefined && fits(info, record)) return;
    try {
      // The primary first; another backup may have it when the primary's own was overwritten meanwhile.
      await this.#transfer.fetch(name, record, from);
    } catch (error) {
      if (!(await this.#superseded(name, from))) throw error;
    }
  }

  // The object was overwritten or deleted since: a later record says what it is now, and comes with its own object. Until then
  // the newer object stands in: a write that was under way may take effect, but an acknowledged one must not vanish.
  async #superseded(name: ObjectName, from: string): Promise<boolean> {
    try {
      await this.#transfer.fetchPresent(name, from);
      return true;
    } catch (error) {
      if (!isHeptadError(error, 'OBJECT_NOT_FOUND')) return false;
      await this.#options.objects.delete(name.bucket, name.key);
      return true;
    }
  }

  /** Gives another centre a piece of an object. */
  give(name: ObjectName, offset: number): Promise<ObjectPiece> {
    return this.#transfer.give(name, offset);
  }

  /** Ends anti-entropy and transfers; resolves when nothing of it runs any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#schedule?.cancel();
    this.#stop.abort();
    await this.#round;
  }
}

/** Objects named in an event; the others are found the same way. */
const NAMED_MAX = 10;

function named(objects: readonly string[]): string {
  const more = objects.length > NAMED_MAX ? `; and ${objects.length - NAMED_MAX} more` : '';
  return `${objects.slice(0, NAMED_MAX).join('; ')}${more}`;
}
