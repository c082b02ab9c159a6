// What a state file needs from time to time: old history removed, old answers forgotten, space given back.

import { statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { type Clock, eventLoopTurn, type Revision, type Timer } from '@heptad/core';
import type { CommitQueue } from './commit-queue.ts';
import type { RequestMemory } from './sqlite-requests.ts';
import type { Sweeper } from './sqlite-sweep.ts';

/** A write-ahead log above this is copied into the file and cut to nothing. Automatic checkpoints keep it near 4 MiB. */
const MAXIMUM_LOG_BYTES = 64 * 1024 * 1024;

/** How much history is kept. */
export interface HistoryOptions {
  /** At least this long. Default 10 min: a watcher that was away for less can resume. */
  readonly keepMs?: number;
  /** How often to look. Default 1 min. */
  readonly everyMs?: number;
}

/** Ten minutes, as etcd's usual auto-compaction. */
const DEFAULT_KEEP_MS = 600_000;
const DEFAULT_EVERY_MS = 60_000;

/** What {@link Maintenance} works on. */
export interface MaintenanceOptions {
  readonly path: string;
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly queue: CommitQueue;
  readonly sweeper: Sweeper;
  readonly requests: RequestMemory;
  readonly history: HistoryOptions;
  readonly revision: () => Revision;
  readonly compactRevision: () => Revision;
  /** Moves the compaction to a revision. */
  readonly compact: (revision: Revision) => Promise<void>;
}

/** Runs the periodic compaction, and sweeps after every compaction, in slices between other work. */
export class Maintenance {
  readonly #options: MaintenanceOptions;
  readonly #timer: Timer;
  /** Revisions with the time at which they were the newest, oldest first. */
  #marks: { revision: Revision; atMs: number }[] = [];
  #sweeping: Promise<void> | undefined;
  #stopped = false;

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    const everyMs = options.history.everyMs ?? DEFAULT_EVERY_MS;
    this.#timer = options.clock.interval(everyMs, () => void this.#tick(), { unref: true });
  }

  async #tick(): Promise<void> {
    const { clock, history, revision, compactRevision, compact } = this.#options;
    const now = clock.monotonicMs();
    const oldEnough = now - (history.keepMs ?? DEFAULT_KEEP_MS);
    this.#marks.push({ revision: revision(), atMs: now });
    const due = this.#marks.findLast((mark) => mark.atMs <= oldEnough);
    if (due !== undefined) {
      this.#marks = this.#marks.filter((mark) => mark.atMs > due.atMs);
      if (due.revision > compactRevision()) await compact(due.revision).catch(() => {});
    }
    // Failures show in every write that follows; the next tick tries again.
    await this.sweep().catch(() => {});
  }

  /** Removes what is compacted away; joins a sweep that runs. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { queue, sweeper, requests, compactRevision } = this.#options;
    await queue.submit({ run: () => requests.forgetOld() });
    let more = true;
    while (more && !this.#stopped) {
      more = await queue.submit({ run: () => sweeper.slice(compactRevision()) });
      await eventLoopTurn();
    }
    more = !this.#stopped;
    while (more && !this.#stopped) {
      more = await queue.submit({ run: () => sweeper.shrink() });
      await eventLoopTurn();
    }
    this.#cutLog();
  }

  #cutLog(): void {
    const size = statSync(`${this.#options.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (size > MAXIMUM_LOG_BYTES && !this.#stopped) {
      this.#options.database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    }
  }

  /** Stops; resolves when the slice that runs is over. */
  async close(): Promise<void> {
    this.#stopped = true;
    this.#timer.cancel();
    await this.#sweeping?.catch(() => {});
  }
}
