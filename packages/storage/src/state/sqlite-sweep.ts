// Sweeping: removes compacted history from the state file in slices short enough that nobody waits for them.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Clock, Revision } from '@heptad/core';

/** Longest time one slice may take before others get their turn. A commit of its own follows. */
const SLICE_BUDGET_MS = 10;
/** Events looked at between two looks at the clock. */
const EVENTS_PER_LOOK = 64;
/** Pages (4 KiB) given back to the file system a slice; each may move another page. */
const PAGES_PER_SLICE = 256;

/**
 * Removes what only revisions before the compaction show.
 *
 * Invariant kept: below `swept`, each key has at most one event, and it is a put. Walking upwards, an event makes all
 * earlier ones of its key unreadable (they could only be read below the compaction), and a deletion makes itself
 * unnecessary once they are gone. The invariant holds between any two slices, so a crash in between costs nothing. The
 * newest put below the compaction stays: reads at the compaction and `previous` of later events need it.
 */
export class Sweeper {
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #next: StatementSync;
  readonly #deleteEarlier: StatementSync;
  readonly #deleteOne: StatementSync;
  readonly #remember: StatementSync;
  #swept: Revision;

  constructor(db: DatabaseSync, clock: Clock, swept: Revision) {
    this.#db = db;
    this.#clock = clock;
    this.#swept = swept;
    this.#next = db.prepare(
      'SELECT rev, sub, key, value IS NULL AS gone FROM event WHERE rev >= ? AND rev < ? ORDER BY rev, sub LIMIT ?',
    );
    this.#deleteEarlier = db.prepare('DELETE FROM event WHERE key = ? AND rev < ?');
    this.#deleteOne = db.prepare('DELETE FROM event WHERE rev = ? AND sub = ?');
    this.#remember = db.prepare('UPDATE meta SET swept_rev = ?');
  }

  /** One slice, inside a SQLite transaction of the caller. Answers whether there is more to do. */
  slice(compactRevision: Revision): boolean {
    const deadline = this.#clock.monotonicMs() + SLICE_BUDGET_MS;
    while (this.#swept < compactRevision && this.#clock.monotonicMs() < deadline) {
      const rows = this.#next.all(this.#swept, compactRevision, EVENTS_PER_LOOK);
      for (const { rev, sub, key, gone } of rows) {
        this.#deleteEarlier.run(key ?? null, rev ?? null);
        if (gone === 1) this.#deleteOne.run(rev ?? null, sub ?? null);
      }
      const last = rows.at(-1)?.rev;
      const complete = rows.length < EVENTS_PER_LOOK;
      // A revision with more events than a look takes is looked at again from its beginning until it is done; what
      // was handled before is gone or already alone, so that this ends.
      this.#swept =
        complete || typeof last !== 'number' ? compactRevision : this.#advance(rows.at(0)?.rev, last);
    }
    this.#remember.run(this.#swept);
    return this.#swept < compactRevision;
  }

  /** Where to go on after a full look from `first` to `last`: at `last`, or behind it when it filled the look alone. */
  #advance(first: unknown, last: Revision): Revision {
    if (first !== last) return last;
    for (const { sub, key, gone } of this.#next.all(last, last + 1, -1)) {
      this.#deleteEarlier.run(key ?? null, last);
      if (gone === 1) this.#deleteOne.run(last, sub ?? null);
    }
    return last + 1;
  }

  /** Gives free pages back to the file system, a slice of them. Answers whether there are more. */
  shrink(): boolean {
    const free = this.#db.prepare('PRAGMA freelist_count').get()?.freelist_count;
    if (typeof free !== 'number' || free === 0) return false;
    this.#db.exec(`PRAGMA incremental_vacuum(${PAGES_PER_SLICE})`);
    return free > PAGES_PER_SLICE;
  }
}
