// The commit tracker: which of a primary's revisions enough backups have durably.

import { type Clock, HeptadError, type Timer } from '@heptad/core';

/** How many acknowledgements make a commit. */
export interface CommitTrackerOptions {
  /** 0: everything is committed at once (asynchronous replication). */
  readonly needed: number;
  readonly clock: Clock;
}

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly timer: Timer;
}

/** Tracks one reign. */
export class CommitTracker {
  readonly #needed: number;
  readonly #clock: Clock;
  readonly #acked = new Map<string, number>();
  readonly #waiters = new Set<Waiter>();
  #ended: HeptadError | undefined;

  constructor(options: CommitTrackerOptions) {
    this.#needed = options.needed;
    this.#clock = options.clock;
  }

  /** Highest revision that `needed` backups have. */
  get committed(): number {
    if (this.#needed === 0) return Number.POSITIVE_INFINITY;
    const revisions = [...this.#acked.values()].sort((a, b) => b - a);
    return revisions[this.#needed - 1] ?? 0;
  }

  /** A backup has everything up to `revision` of this reign durably. */
  acknowledge(backup: string, revision: number): void {
    if (revision <= (this.#acked.get(backup) ?? 0)) return;
    this.#acked.set(backup, revision);
    const { committed } = this;
    for (const waiter of this.#waiters) {
      if (waiter.revision <= committed) this.#settle(waiter, waiter.resolve);
    }
  }

  /**
   * Resolves when `revision` is committed. Error `UNKNOWN_OUTCOME` when it was not in time or the reign ended first: a backup
   * may have it, and may be promoted with it.
   */
  wait(revision: number, timeoutMs: number): Promise<void> {
    if (revision <= this.committed) return Promise.resolve();
    const ended = this.#ended;
    if (ended !== undefined) return Promise.reject(ended);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        revision,
        resolve,
        reject,
        timer: this.#clock.timer(timeoutMs, () => {
          const have = [...this.#acked].map(([name, at]) => `${name} has revision ${at}`).join(', ');
          const text = `revision ${revision} was not on ${this.#needed} backups within ${timeoutMs} ms (${have === '' ? 'no backup answered' : have})`;
          this.#settle(waiter, () =>
            reject(
              new HeptadError('UNKNOWN_OUTCOME', `the write's outcome is unknown: ${text}`, {
                hint: 'read the key back before writing it again',
              }),
            ),
          );
        }),
      };
      this.#waiters.add(waiter);
    });
  }

  /** The reign is over: nothing more will be committed in it. */
  end(because: string): void {
    const error = new HeptadError('UNKNOWN_OUTCOME', `the write's outcome is unknown: ${because}`, {
      hint: 'read the key back from the new primary before writing it again',
    });
    this.#ended = error;
    for (const waiter of this.#waiters) this.#settle(waiter, () => waiter.reject(error));
  }

  #settle(waiter: Waiter, settle: () => void): void {
    waiter.timer.cancel();
    this.#waiters.delete(waiter);
    settle();
  }
}
