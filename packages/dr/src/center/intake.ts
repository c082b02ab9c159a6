// The backup's door: takes in what a primary replicates, one message after the other, unless a later generation is followed.

import { HeptadError, type StateStore } from '@heptad/core';
import { Applier, type ApplierHooks } from '../replicate/applier.ts';
import type { LocalState } from './local-state.ts';
import type { Rebuild, Replicate, ReplicateAnswer } from './messages.ts';
import { Mutex } from './mutex.ts';
import type { Tenure } from './tenure.ts';

/** Takes in entries and rebuilds of one centre. */
export class Intake {
  readonly #tenure: Tenure;
  readonly #local: LocalState;
  readonly #applier: Applier;
  readonly #turns = new Mutex();

  constructor(options: {
    readonly tenure: Tenure;
    readonly local: LocalState;
    readonly store: StateStore;
    readonly hooks: ApplierHooks;
  }) {
    const { tenure, local, store, hooks } = options;
    this.#tenure = tenure;
    this.#local = local;
    this.#applier = new Applier(store, local, hooks, (generation, action) =>
      tenure.exclusive(generation, action),
    );
  }

  /** Takes in entries. */
  replicate(batch: Replicate): Promise<ReplicateAnswer> {
    return this.#takeIn(batch.from, batch.generation, async () =>
      batch.probe === true ? 'applied' : this.#applier.apply(batch),
    );
  }

  /** Takes in part of a rebuild. */
  rebuild(step: Rebuild): Promise<ReplicateAnswer> {
    return this.#takeIn(step.from, step.generation, async () => {
      await this.#applier.rebuild(step);
      return 'applied';
    });
  }

  /** Runs an action while nothing is being taken in. */
  between<T>(action: () => Promise<T>): Promise<T> {
    return this.#turns.run(action);
  }

  #takeIn(
    from: string,
    generation: number,
    action: () => Promise<'applied' | 'mismatch'>,
  ): Promise<ReplicateAnswer> {
    return this.#turns.run(async () => {
      if (!(await this.#tenure.follow(from, generation))) return this.#answer('fenced');
      try {
        const outcome = await action();
        await this.#tenure.learnPromotions(generation);
        return this.#answer(outcome);
      } catch (error) {
        if (error instanceof HeptadError && error.code === 'FENCED') return this.#answer('fenced');
        throw error;
      }
    });
  }

  #answer(outcome: ReplicateAnswer['outcome']): ReplicateAnswer {
    const { position, bytes, rebuilding } = this.#local.applied;
    return { outcome, generation: this.#tenure.generation, position, bytes, rebuilding };
  }
}
