// The backup's side: takes in entries in order, each with its mark in one transaction, and rebuilds the copy when told to.

import { HeptadError, type Op, type StateStore } from '@heptad/core';
import type { Applied, LocalState } from '../center/local-state.ts';
import type { Entry, EntryOp, Rebuild, Replicate } from '../center/messages.ts';
import { comparePositions, ORIGIN, type Position } from '../topology/position.ts';
import { digestOf, pages } from './digest.ts';
import { makeEntries, storeOps, verifyEntry } from './entry.ts';

/** Keys named in a divergence report; the count is exact, the list is for people. */
const DIVERGED_KEYS_MAX = 100;

/** What a rebuild threw away: changes that no primary ever had acknowledged by enough backups. */
export interface Divergence {
  /** Where this copy stood. */
  readonly position: Position;
  readonly changedKeys: number;
  /** The first hundred. */
  readonly keys: readonly string[];
}

/** What else happens when entries come in. */
export interface ApplierHooks {
  /** Called before changes are applied and acknowledged: brings in, or removes, the objects they refer to. */
  readonly beforeApply?: (ops: readonly EntryOp[], from: string) => Promise<void>;
  readonly onDivergence?: (divergence: Divergence) => void;
}

/**
 * Runs an action under the centre's lock after checking that `generation` is not fenced (error `FENCED`). Together with the
 * vote running under the same lock this is what makes an acknowledgement binding: a vote sees every change acknowledged
 * before it, and after it nothing of an earlier generation is acknowledged.
 */
export type Exclusive = (generation: number, action: () => Promise<void>) => Promise<void>;

/** Applies to one store. Calls must not overlap; the centre's lock sees to it. */
export class Applier {
  readonly #store: StateStore;
  readonly #local: LocalState;
  readonly #hooks: ApplierHooks;
  readonly #exclusive: Exclusive;
  #rebuild: { from: Position; changed: number; keys: string[] } | undefined;

  constructor(store: StateStore, local: LocalState, hooks: ApplierHooks, exclusive: Exclusive) {
    this.#exclusive = exclusive;
    this.#store = store;
    this.#local = local;
    this.#hooks = hooks;
  }

  /** Applies a batch; says `mismatch` when it does not continue from where this copy is. */
  async apply(batch: Replicate): Promise<'applied' | 'mismatch'> {
    const { applied } = this.#local;
    if (applied.rebuilding || comparePositions(batch.previous, applied.position) !== 0) return 'mismatch';
    for (const entry of batch.entries) await this.#applyEntry(entry, batch);
    return 'applied';
  }

  async #applyEntry(entry: Entry, batch: Replicate): Promise<void> {
    verifyEntry(entry);
    const { applied } = this.#local;
    if (entry.position !== undefined && comparePositions(entry.position, applied.position) <= 0) return;
    await this.#hooks.beforeApply?.(entry.ops, batch.from);
    const mark: Applied | undefined =
      entry.position === undefined ? undefined : { ...applied, position: entry.position, bytes: entry.bytes };
    await this.#exclusive(batch.generation, () => this.#local.apply(entry.ops.flatMap(storeOps), mark));
  }

  /** One step of a rebuild. Errors: `REBUILD_RESTARTED` when it began elsewhere; `CHECKSUM_MISMATCH` at the end. */
  async rebuild(step: Rebuild): Promise<void> {
    if (step.phase === 'begin') return this.#begin(step.generation);
    if (this.#rebuild === undefined || !this.#local.applied.rebuilding) {
      throw new HeptadError('REBUILD_RESTARTED', 'this rebuild is not under way here', { retryable: true });
    }
    if (step.phase === 'page') return this.#page(step);
    return this.#end(step);
  }

  async #begin(generation: number): Promise<void> {
    const { applied } = this.#local;
    this.#rebuild = { from: applied.position, changed: 0, keys: [] };
    const since = (await this.#store.range({ key: '/', limit: 1 })).revision + 1;
    await this.#exclusive(generation, () =>
      this.#local.apply([], { position: ORIGIN, bytes: 0, since, rebuilding: true }),
    );
  }

  async #page(step: Rebuild): Promise<void> {
    await this.#hooks.beforeApply?.(
      step.kvs.map((kv) => ({ op: 'put', ...kv })),
      step.from,
    );
    const wanted = new Map(step.kvs.map((kv) => [kv.key, kv]));
    const ops: EntryOp[] = [];
    for await (const page of pages(this.#store, { after: step.after, upTo: step.upTo })) {
      for (const { key, value } of page) {
        const target = wanted.get(key);
        if (target === undefined) ops.push({ op: 'delete', key });
        // An equal value is written again only for its lease: content is what counts.
        else if (target.value === value && target.leaseId === undefined) wanted.delete(key);
      }
    }
    // What this copy had and the primary has not goes with all that hangs on it.
    const deletes = ops.filter(({ op }) => op === 'delete');
    if (deletes.length > 0) await this.#hooks.beforeApply?.(deletes, step.from);
    for (const kv of wanted.values()) ops.push({ op: 'put', ...kv });
    this.#remember(ops);
    for (const part of makeEntries(undefined, ops, 0)) {
      const storable: Op[] = part.ops.flatMap(storeOps);
      if (storable.length > 0)
        await this.#exclusive(step.generation, () => this.#local.apply(storable, undefined));
    }
  }

  #remember(ops: readonly EntryOp[]): void {
    const rebuild = this.#rebuild;
    if (rebuild === undefined) return;
    rebuild.changed += ops.length;
    const room = DIVERGED_KEYS_MAX - rebuild.keys.length;
    rebuild.keys.push(...ops.slice(0, Math.max(0, room)).map(({ key }) => key));
  }

  async #end(step: Rebuild): Promise<void> {
    const digest = await digestOf(this.#store);
    if (digest !== step.digest) {
      throw new HeptadError(
        'CHECKSUM_MISMATCH',
        'the rebuilt copy differs from the original: it is rebuilt again',
        {
          retryable: true,
        },
      );
    }
    const { since } = this.#local.applied;
    await this.#exclusive(step.generation, () =>
      this.#local.apply([], { position: step.position, bytes: step.bytes, since, rebuilding: false }),
    );
    const rebuild = this.#rebuild;
    this.#rebuild = undefined;
    // A copy that had something of its own has lost it now: say what, so that a person can look.
    if (rebuild !== undefined && comparePositions(rebuild.from, ORIGIN) > 0 && rebuild.changed > 0) {
      this.#hooks.onDivergence?.({
        position: rebuild.from,
        changedKeys: rebuild.changed,
        keys: rebuild.keys,
      });
    }
  }
}
