// The multi-version map beneath MemoryStateStore: every key's versions, and every revision's events.

import type { Key, KeyValue, RangeQuery, Revision, WatchEvent } from '../contracts/state-store.ts';
import { compareKeys, inKeyRange, lowerBound } from './keys.ts';

/** A key's state from `revision` on; no `kv`: it was deleted. */
interface Version {
  readonly revision: Revision;
  readonly kv: KeyValue | undefined;
}

/** Versions of keys and events of revisions. Not a store: no validation, no leases, no waiting. */
export class MemoryHistory {
  /** All keys with a version left, deleted ones included, in byte order. */
  readonly #keys: Key[] = [];
  readonly #versions = new Map<Key, Version[]>();
  /** Events of revision `#firstRevision + index`. */
  #events: (readonly WatchEvent[])[] = [];
  #firstRevision: Revision = 1;
  revision: Revision = 0;
  compactRevision: Revision = 0;

  latest(key: Key): KeyValue | undefined {
    return this.#versions.get(key)?.at(-1)?.kv;
  }

  /** Live keys of the range in byte order, as of `query.revision` or of everything set so far. */
  range(query: RangeQuery): { kvs: KeyValue[]; more: boolean } {
    const kvs: KeyValue[] = [];
    for (let index = lowerBound(this.#keys, query.key); index < this.#keys.length; index += 1) {
      const key = this.#keys[index];
      if (key === undefined || !inKeyRange(key, query)) break;
      const kv = query.revision === undefined ? this.latest(key) : this.#at(key, query.revision);
      if (kv === undefined) continue;
      if (kvs.length === query.limit) return { kvs, more: true };
      kvs.push(kv);
    }
    return { kvs, more: false };
  }

  #at(key: Key, revision: Revision): KeyValue | undefined {
    return this.#versions.get(key)?.findLast((version) => version.revision <= revision)?.kv;
  }

  /** Sets a key's state from `revision` on; visible at once, numbered by the {@link MemoryHistory.commit} that follows. */
  set(key: Key, revision: Revision, kv: KeyValue | undefined): void {
    const versions = this.#versions.get(key);
    if (versions !== undefined) {
      versions.push({ revision, kv });
      return;
    }
    this.#versions.set(key, [{ revision, kv }]);
    const index = lowerBound(this.#keys, key);
    if (this.#keys[index] === undefined || compareKeys(this.#keys[index], key) !== 0) {
      this.#keys.splice(index, 0, key);
    }
  }

  /** Ends a transaction that changed something: one revision for all of it. */
  commit(events: readonly WatchEvent[]): void {
    this.revision += 1;
    this.#events.push(events);
  }

  eventsAt(revision: Revision): readonly WatchEvent[] {
    return this.#events[revision - this.#firstRevision] ?? [];
  }

  /** Forgets what only revisions before `revision` show. */
  compact(revision: Revision): void {
    this.compactRevision = revision;
    this.#events = this.#events.slice(revision - this.#firstRevision);
    this.#firstRevision = revision;
    const kept: Key[] = [];
    for (const key of this.#keys) {
      const versions = this.#versions.get(key) ?? [];
      const current = versions.findLastIndex((version) => version.revision <= revision);
      const rest = current > 0 ? versions.slice(current) : versions;
      const first = rest[0];
      // A deletion at or before the compaction is what a missing key looks like anyway.
      const left =
        first !== undefined && first.kv === undefined && first.revision <= revision ? rest.slice(1) : rest;
      if (left.length === 0) {
        this.#versions.delete(key);
      } else {
        this.#versions.set(key, left);
        kept.push(key);
      }
    }
    this.#keys.length = 0;
    this.#keys.push(...kept);
  }
}
