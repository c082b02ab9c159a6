// Group commit: changes that arrive together share one durable SQLite transaction.

import type { DatabaseSync } from 'node:sqlite';
import { errorMessage, eventLoopTurn, HeptadError, isHeptadError, storeClosedError } from '@heptad/core';

/** Changes in one commit; more wait for the next, so that no answer waits for a thousand others. */
const MAXIMUM_BATCH = 512;
/** Changes that may wait. Beyond it callers are told to come back, instead of memory growing without end. */
const MAXIMUM_WAITING = 10_000;
/** SQLite's primary code for a full disk: the commit was undone, certainly. */
const SQLITE_FULL = 13;

/** A change: `run` writes, `committed` is called once it is durable, before the caller hears of it. */
export interface Change<T> {
  readonly run: () => T;
  readonly committed?: (result: T) => void;
}

interface Waiting {
  readonly run: () => void;
  /** Whether `run` succeeded: it then has changes to be committed. */
  readonly succeed: () => void;
  readonly fail: (error: unknown) => void;
}

/** What the queue needs of its owner. */
export interface CommitQueueOptions {
  readonly database: DatabaseSync;
  /** Called inside the transaction after its changes, before the commit. */
  readonly beforeCommit: () => void;
  /** Called after a commit that failed: forget what was not committed. */
  readonly rolledBack: () => void;
}

/**
 * Runs changes one after the other, each seeing those before it, and commits those of one turn of the event loop
 * together: one fsync for all of them. Nobody is answered before that fsync.
 *
 * A change that throws must have changed nothing; it fails alone.
 */
export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #closed = false;
  #broken: HeptadError | undefined;

  constructor(options: CommitQueueOptions) {
    this.#options = options;
  }

  /** Resolves when the change is durable. */
  submit<T>(change: Change<T>): Promise<T> {
    if (this.#closed) return Promise.reject(storeClosedError());
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    if (this.#waiting.length >= MAXIMUM_WAITING) {
      return Promise.reject(
        new HeptadError('UNAVAILABLE', `the state store has ${MAXIMUM_WAITING} changes waiting`, {
          retryable: true,
          hint: 'write less at once, or try again',
        }),
      );
    }
    return new Promise((resolve, reject) => {
      let outcome: { result: T } | undefined;
      this.#waiting.push({
        run: () => {
          outcome = { result: change.run() };
        },
        succeed: () => {
          if (outcome === undefined) return;
          change.committed?.(outcome.result);
          resolve(outcome.result);
        },
        fail: reject,
      });
      this.#flushing ??= this.#flush();
    });
  }

  /** Commits what waits; then everything is `STORE_CLOSED`. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#flushing !== undefined) await this.#flushing;
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      // One turn: requests already on the socket join this batch.
      await eventLoopTurn();
      const batch = this.#waiting.splice(0, MAXIMUM_BATCH);
      if (this.#broken === undefined) this.#commit(batch);
      else for (const each of batch) each.fail(this.#broken);
    }
    this.#flushing = undefined;
  }

  #commit(batch: readonly Waiting[]): void {
    const { database } = this.#options;
    const done: Waiting[] = [];
    try {
      database.exec('BEGIN IMMEDIATE');
      for (const each of batch) {
        try {
          each.run();
          done.push(each);
        } catch (error) {
          // Refusals leave no trace. What SQLite throws, and damage found half-way, undoes the whole batch.
          if (!isHeptadError(error) || error.code === 'STORE_CORRUPT') throw error;
          each.fail(error);
        }
      }
      this.#options.beforeCommit();
    } catch (error) {
      this.#undo(batch, error);
      return;
    }
    try {
      database.exec('COMMIT');
    } catch (error) {
      this.#commitFailed(done, error);
      return;
    }
    for (const each of done) each.succeed();
  }

  #undo(batch: readonly Waiting[], cause: unknown): void {
    if (this.#options.database.isTransaction) this.#options.database.exec('ROLLBACK');
    this.#options.rolledBack();
    const damaged = isHeptadError(cause, 'STORE_CORRUPT') ? cause : undefined;
    const error =
      damaged ??
      new HeptadError('UNAVAILABLE', `the state store could not write: ${errorMessage(cause)}`, {
        cause,
        retryable: true,
        hint: 'look at the free space and the health of its disk',
      });
    for (const each of batch) each.fail(error);
  }

  #commitFailed(done: readonly Waiting[], cause: unknown): void {
    const full = cause instanceof Error && 'errcode' in cause && cause.errcode === SQLITE_FULL;
    if (full) {
      this.#undo(done, cause);
      return;
    }
    // After a failed fsync nobody knows what is on the disk, and a second fsync would lie (PostgreSQL's "fsyncgate",
    // 2018). So nothing is tried again: the store refuses everything until it is opened anew and checked.
    this.#broken = new HeptadError(
      'UNAVAILABLE',
      `the state store stopped: a commit failed with ${errorMessage(cause)}`,
      { cause, hint: 'look at the health of its disk, then restart the server' },
    );
    const unknown = new HeptadError(
      'UNKNOWN_OUTCOME',
      `a change may or may not be durable: ${errorMessage(cause)}`,
      { cause, hint: 'after the restart, check by the requestId' },
    );
    for (const each of done) each.fail(unknown);
  }
}
