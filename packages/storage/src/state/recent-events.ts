// The newest revisions' events in memory, so that watchers who keep up need not read the file.

import type { Revision, WatchEvent } from '@heptad/core';

/** Revisions kept. A watcher that is further behind reads the file. */
const MAXIMUM_REVISIONS = 1024;
/** Text kept, in UTF-16 units, so that a few large values do not fill the memory. */
const MAXIMUM_UNITS = 16 * 1024 * 1024;

function unitsOf(events: readonly WatchEvent[]): number {
  let units = 0;
  for (const event of events) {
    units += (event.type === 'put' ? event.kv.value.length : 0) + (event.previous?.value.length ?? 0);
  }
  return units;
}

/** A bounded window of consecutive revisions that ends with the newest. */
export class RecentEvents {
  readonly #batches: { events: readonly WatchEvent[]; units: number }[] = [];
  #first: Revision;
  #units = 0;

  /** @param next the revision the next batch will have */
  constructor(next: Revision) {
    this.#first = next;
  }

  push(events: readonly WatchEvent[]): void {
    const units = unitsOf(events);
    this.#batches.push({ events, units });
    this.#units += units;
    while (this.#batches.length > MAXIMUM_REVISIONS || this.#units > MAXIMUM_UNITS) {
      this.#units -= this.#batches.shift()?.units ?? 0;
      this.#first += 1;
    }
  }

  /** The events of a revision; `undefined` when it is not in the window. */
  at(revision: Revision): readonly WatchEvent[] | undefined {
    return this.#batches[revision - this.#first]?.events;
  }
}
