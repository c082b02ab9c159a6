// Conditional writes: compare-and-set of objects, decided in the state store.
//
// A register of quorums cannot compare and set (it has no consensus), so the decision is taken where there is
// consensus. For each object written conditionally the state store keeps a guard: "after version `base` comes version
// `winner`". The steps of a conditional write:
//
//   1. read the guard; 2. read the object's latest tag E (linearizably); if the guard says E has a decided successor
//   that is not stored yet, store it and begin again; 3. test the condition on E, else PRECONDITION_FAILED;
//   4. stage the new bytes as a hidden object; 5. compare-and-set the guard, unchanged since 1, to {base: E,
//   winner: C}; when that fails begin again; 6. store the bytes as version C; 7. remove the staged bytes.
//
// At most one successor of E is ever decided: a second writer must have read the guard after the first one's
// decision, and then finds in step 2 either E with a decided successor, which it stores first, or a later tag. Because
// the bytes are staged before the decision, anybody can finish the write of a writer that died after step 5.
//
// C is the smallest tag after E that any writer may use, and an ordinary write that has not seen C draws a tag after
// E with a higher writer, so it sorts after C. An ordinary write that overlaps thus always comes later in the order,
// and may be taken to have happened right after the conditional one: the condition was true when it took effect.

import { type Clock, isHeptadError, type Random, type StateStore } from '@heptad/core';
import { z } from 'zod';
import { StorageError } from '../errors.ts';
import { guardedSuccessor, isTag, type Tag, ZERO_TAG } from '../model/tag.ts';
import { objectId, type VersionHeader } from '../model/version.ts';
import type { Draft } from './register.ts';
import type { StrongObjects } from './strong.ts';

/** What a conditional write tests. */
export interface Condition {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: '*' | undefined;
}

/** What a {@link ConditionalWriter} works with. */
export interface ConditionalOptions {
  readonly store?: StateStore;
  readonly guardPrefix: string;
  readonly objects: StrongObjects;
  readonly clock: Clock;
  readonly random: Random;
}

/** Bucket of staged bytes. Its name cannot be given by callers: it has a character no bucket name may have. */
export const STAGING_BUCKET = '_staged';
/** Where guards are kept when nothing else is said. */
export const DEFAULT_GUARD_PREFIX = '/storage/guards/';
/** Writers in a row that decided before us; more means a contended object, and the caller should know. */
const MAX_ATTEMPTS = 16;
const RETRY_PAUSE_MS = 10;

const guardSchema = z.strictObject({
  base: z.string().refine(isTag),
  winner: z.string().refine(isTag),
  staged: z.string(),
});
type Guard = z.infer<typeof guardSchema>;

/** See the head of this file. */
export class ConditionalWriter {
  readonly #options: ConditionalOptions;

  constructor(options: ConditionalOptions) {
    this.#options = options;
  }

  /** Writes if the condition holds. `PRECONDITION_FAILED`, `CONFLICT` (too many others), `NOT_SUPPORTED`. */
  async write(draft: Draft, condition: Condition, signal?: AbortSignal): Promise<VersionHeader> {
    const store = this.#options.store;
    if (store === undefined) {
      throw new StorageError(
        'NOT_SUPPORTED',
        `cannot write ${draft.header.bucket}/${draft.header.key} conditionally: no state store was given`,
        { hint: 'open DistributedStorage with a stateStore, which decides between writers' },
      );
    }
    const { bucket, key } = draft.header;
    const guardKey = `${this.#options.guardPrefix}${objectId(bucket, key)}`;
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const { guard, revision } = await this.#readGuard(store, guardKey);
      const current = await this.#options.objects.head(bucket, key, signal);
      const tag = current?.tag ?? ZERO_TAG;
      if (guard?.base === tag) {
        await this.#finish(guard, draft, signal);
        continue;
      }
      checkCondition(draft, condition, current);
      const winner = await this.#decide(store, guardKey, revision, tag, draft, signal);
      if (winner !== undefined) return winner;
      await this.#options.clock.sleep(RETRY_PAUSE_MS * attempt * this.#options.random.next(), signal);
    }
    throw new StorageError(
      'CONFLICT',
      `cannot write ${bucket}/${key}: ${MAX_ATTEMPTS} other writers came first`,
      {
        hint: 'read it again and retry, with a pause',
        retryable: true,
      },
    );
  }

  async #readGuard(store: StateStore, key: string): Promise<{ guard: Guard | undefined; revision: number }> {
    const { kvs } = await store.range({ key });
    const [found] = kvs;
    if (found === undefined) return { guard: undefined, revision: 0 };
    return { guard: guardSchema.parse(JSON.parse(found.value)), revision: found.modRevision };
  }

  async #decide(
    store: StateStore,
    guardKey: string,
    revision: number,
    base: Tag,
    draft: Draft,
    signal: AbortSignal | undefined,
  ): Promise<VersionHeader | undefined> {
    const { clock, random, objects } = this.#options;
    const staged = `${objectId(draft.header.bucket, draft.header.key)}/${random.uuid(clock.now())}`;
    const target = { 'staged-for': JSON.stringify(draft.header) };
    const hidden = { ...draft.header, bucket: STAGING_BUCKET, key: staged, metadata: target, deleted: false };
    await objects.write({ header: hidden, body: draft.body }, signal);
    const winner = guardedSuccessor(base);
    const requestId = random.uuid(clock.now());
    const guard: Guard = { base, winner, staged };
    const decided = await this.#compareAndSet(store, guardKey, revision, JSON.stringify(guard), requestId);
    if (decided) {
      const version = { header: { ...draft.header, tag: winner }, body: draft.body };
      await objects.store(version, signal);
      await this.#unstage(staged);
      return version.header;
    }
    await this.#unstage(staged);
    return undefined;
  }

  // A transaction whose outcome is unknown is asked again under the same id, which never does it twice.
  async #compareAndSet(
    store: StateStore,
    key: string,
    revision: number,
    value: string,
    requestId: string,
  ): Promise<boolean> {
    const txn = {
      compare: [{ key, target: 'modRevision' as const, is: '=' as const, than: revision }],
      success: [{ op: 'put' as const, key, value }],
      requestId,
    };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return (await store.txn(txn)).succeeded;
      } catch (error) {
        if (attempt >= 3 || !isHeptadError(error, 'UNKNOWN_OUTCOME')) throw error;
        await this.#options.clock.sleep(RETRY_PAUSE_MS * attempt);
      }
    }
  }

  // Stores a successor somebody decided and did not come to store.
  async #finish(guard: Guard, draft: Draft, signal: AbortSignal | undefined): Promise<void> {
    const staged = await this.#options.objects.read(STAGING_BUCKET, guard.staged, signal);
    // Its writer has stored it and cleaned up between our two reads: the next look finds it.
    if (staged === undefined || staged.header.deleted) return;
    const target = JSON.parse(staged.header.metadata['staged-for'] ?? 'null');
    const header = stagedHeader(target, draft, guard.winner);
    await this.#options.objects.store({ header, body: staged.body }, signal);
  }

  async #unstage(staged: string): Promise<void> {
    const { objects, clock } = this.#options;
    const header = {
      bucket: STAGING_BUCKET,
      key: staged,
      sha256: EMPTY_SHA256,
      sizeBytes: 0,
      lastModified: clock.now(),
      metadata: {},
      deleted: true,
    };
    // The write is done; what is left behind is removed by the next repair.
    await objects.write({ header, body: new Uint8Array() }).catch(() => undefined);
  }
}

const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const targetSchema = z.object({
  sha256: z.string(),
  sizeBytes: z.number(),
  lastModified: z.number(),
  metadata: z.record(z.string(), z.string()),
  deleted: z.boolean(),
});

function stagedHeader(target: unknown, draft: Draft, tag: Tag): VersionHeader {
  const { bucket, key } = draft.header;
  return { ...targetSchema.parse(target), bucket, key, tag };
}

function checkCondition(draft: Draft, condition: Condition, current: VersionHeader | undefined): void {
  const exists = current !== undefined && !current.deleted;
  const { bucket, key } = draft.header;
  const refuse = (why: string): StorageError =>
    new StorageError('PRECONDITION_FAILED', `cannot write ${bucket}/${key}: ${why}`, {
      hint: 'read it, merge, and write with its new etag',
      details: exists ? { etag: current.tag } : {},
    });
  if (condition.ifNoneMatch !== undefined && exists) throw refuse('it exists already');
  if (condition.ifMatch === undefined) return;
  if (!exists) throw refuse('it does not exist');
  if (current.tag !== condition.ifMatch) throw refuse(`its etag is ${current.tag}, not ${condition.ifMatch}`);
}
