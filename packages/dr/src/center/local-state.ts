// What a centre remembers across restarts, in its own store under a prefix that is never replicated: its ballot, how far
// its copy has come, and during which of its local revisions it was primary itself.

import { type Compare, HeptadError, type Op, type StateStore } from '@heptad/core';
import { z } from 'zod';
import { type Ballot, BLANK_BALLOT } from '../topology/ballot.ts';
import { ORIGIN, type Position } from '../topology/position.ts';

/** Keys of a centre's own; never replicated, never seen by clients. */
export const LOCAL_PREFIX = '/heptad-dr/';
/** Holds the {@link Ballot}. */
export const BALLOT_KEY: string = `${LOCAL_PREFIX}ballot`;
/** Holds the {@link Applied}. */
export const APPLIED_KEY: string = `${LOCAL_PREFIX}applied`;
/** Holds the {@link Reign}s. */
export const REIGNS_KEY: string = `${LOCAL_PREFIX}reigns`;
/** One key for each replicated key that hangs on a lease at the primary. */
export const LEASED_PREFIX: string = `${LOCAL_PREFIX}leased`;

/** How far the copy has come while following others. */
export interface Applied {
  readonly position: Position;
  /** Bytes of the primary's reign up to there. */
  readonly bytes: number;
  /** Local revision from which on the history of this key is one unbroken sequence: the end of the last rebuild. */
  readonly since: number;
  /** A rebuild is under way: the copy is neither here nor there and must not be promoted. */
  readonly rebuilding: boolean;
}

/** A span of local revisions made as primary: positions in it are (generation, local revision). */
export interface Reign {
  readonly generation: number;
  /** First local revision of the reign. */
  readonly from: number;
  /** Last replicated local revision; undefined while it lasts (or was cut short by a crash). */
  readonly to?: number | undefined;
}

/** Reigns remembered; positions of older ones lead to a rebuild. */
const REIGNS_MAX = 100;

const positionSchema = z.object({ generation: z.number(), revision: z.number() });
const ballotSchema = z.object({ generation: z.number(), votedFor: z.string().optional() });
const appliedSchema: z.ZodType<Applied> = z.object({
  position: positionSchema,
  bytes: z.number(),
  since: z.number(),
  rebuilding: z.boolean(),
});
const reignsSchema: z.ZodType<Reign[]> = z.array(
  z.object({ generation: z.number(), from: z.number(), to: z.number().optional() }),
);

/** Parses a stored {@link Applied}. */
export function parseApplied(text: string): Applied {
  return appliedSchema.parse(JSON.parse(text));
}

/** Of a copy that has never followed anybody. */
export const NOTHING_APPLIED: Applied = { position: ORIGIN, bytes: 0, since: 0, rebuilding: false };

/** Reads and writes {@link LOCAL_PREFIX}. One writer: the centre's own process. */
export class LocalState {
  readonly #store: StateStore;
  #ballot: Ballot = BLANK_BALLOT;
  #applied: Applied = NOTHING_APPLIED;
  #reigns: readonly Reign[] = [];

  private constructor(store: StateStore) {
    this.#store = store;
  }

  /** Reads what is there. */
  static async load(store: StateStore): Promise<LocalState> {
    const state = new LocalState(store);
    const { kvs } = await store.range({ key: LOCAL_PREFIX, end: LEASED_PREFIX });
    const { kvs: rest } = await store.range({ key: REIGNS_KEY });
    for (const { key, value } of [...kvs, ...rest]) {
      if (key === BALLOT_KEY) {
        const { generation, votedFor } = ballotSchema.parse(JSON.parse(value));
        state.#ballot = { generation, votedFor };
      } else if (key === APPLIED_KEY) state.#applied = parseApplied(value);
      else if (key === REIGNS_KEY) state.#reigns = reignsSchema.parse(JSON.parse(value));
    }
    return state;
  }

  get ballot(): Ballot {
    return this.#ballot;
  }

  get applied(): Applied {
    return this.#applied;
  }

  get reigns(): readonly Reign[] {
    return this.#reigns;
  }

  /** Makes a ballot durable. Error: `BALLOT_BACKWARDS`, which would break the promise of every earlier vote. */
  async setBallot(ballot: Ballot): Promise<void> {
    if (ballot.generation < this.#ballot.generation) {
      throw new HeptadError(
        'BALLOT_BACKWARDS',
        `cannot go back from generation ${this.#ballot.generation} to ${ballot.generation}`,
      );
    }
    const { generation, votedFor } = ballot;
    await this.#put([{ op: 'put', key: BALLOT_KEY, value: JSON.stringify({ generation, votedFor }) }]);
    this.#ballot = { generation, votedFor };
  }

  async setReigns(reigns: readonly Reign[], alsoApplied?: Applied): Promise<void> {
    const kept = reigns.slice(-REIGNS_MAX);
    const ops: Op[] = [{ op: 'put', key: REIGNS_KEY, value: JSON.stringify(kept) }];
    if (alsoApplied !== undefined)
      ops.push({ op: 'put', key: APPLIED_KEY, value: JSON.stringify(alsoApplied) });
    await this.#put(ops);
    this.#reigns = kept;
    if (alsoApplied !== undefined) this.#applied = alsoApplied;
  }

  /**
   * Applies changes and moves the mark in one transaction, so that a crash leaves both or neither. The ballot is compared
   * too: once this centre has voted in a later generation, nothing of an earlier one can be applied any more.
   */
  async apply(ops: readonly Op[], applied: Applied | undefined): Promise<void> {
    const mark: Op[] =
      applied === undefined ? [] : [{ op: 'put', key: APPLIED_KEY, value: JSON.stringify(applied) }];
    const compare: Compare[] =
      this.#ballot === BLANK_BALLOT
        ? []
        : [{ key: BALLOT_KEY, target: 'value', is: '=', than: JSON.stringify(this.#ballot) }];
    const { succeeded } = await this.#store.txn({ compare, success: [...ops, ...mark] });
    if (!succeeded)
      throw new HeptadError('FENCED', 'the ballot changed while changes were applied', { retryable: true });
    if (applied !== undefined) this.#applied = applied;
  }

  async #put(ops: readonly Op[]): Promise<void> {
    await this.#store.txn({ compare: [], success: ops });
  }
}
