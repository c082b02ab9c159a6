// The memory of requestIds: kept in the same commit as what it answers for.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Clock, REQUEST_ID_MEMORY_MS, type TxnResult } from '@heptad/core';

/**
 * Answers of transactions by their requestId, durable with the transaction itself: a client that lost the answer to a
 * crash of the server learns after its restart what became of the request.
 *
 * Ages are monotonic. After a restart those of earlier starts count from the restart, so that none is forgotten early.
 */
export class RequestMemory {
  readonly #clock: Clock;
  readonly #epoch: number;
  readonly #startedAtMs: number;
  readonly #find: StatementSync;
  readonly #add: StatementSync;
  readonly #forgetOld: StatementSync;
  readonly #forgetEarlier: StatementSync;

  constructor(database: DatabaseSync, clock: Clock, epoch: number) {
    this.#clock = clock;
    this.#epoch = epoch;
    this.#startedAtMs = clock.monotonicMs();
    this.#find = database.prepare('SELECT result FROM request WHERE id = ? AND (epoch < ? OR at_ms >= ?)');
    this.#add = database.prepare('INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?)');
    this.#forgetOld = database.prepare('DELETE FROM request WHERE epoch = ? AND at_ms < ?');
    this.#forgetEarlier = database.prepare('DELETE FROM request WHERE epoch < ?');
  }

  #oldest(): number {
    return Math.floor(this.#clock.monotonicMs() - this.#startedAtMs) - REQUEST_ID_MEMORY_MS;
  }

  find(requestId: string): TxnResult | undefined {
    const row = this.#find.get(requestId, this.#epoch, this.#oldest());
    // Our own text, written by `remember` in the same file whose pages were checked when it was opened.
    return row === undefined ? undefined : (JSON.parse(String(row.result)) as TxnResult);
  }

  remember(requestId: string, result: TxnResult): void {
    const atMs = Math.floor(this.#clock.monotonicMs() - this.#startedAtMs);
    this.#add.run(requestId, this.#epoch, atMs, JSON.stringify(result));
  }

  /** Drops what is older than the contract asks for; inside a transaction of the caller. */
  forgetOld(): void {
    const oldest = this.#oldest();
    this.#forgetOld.run(this.#epoch, oldest);
    if (oldest > 0) this.#forgetEarlier.run(this.#epoch);
  }
}
