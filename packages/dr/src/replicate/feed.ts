// The feed: a primary's own store read as a sequence of entries, from any position it shares with a backup.

import { isHeptadError, type StateStore, type WatchEvent } from '@heptad/core';
import {
  APPLIED_KEY,
  type Applied,
  NOTHING_APPLIED,
  parseApplied,
  type Reign,
} from '../center/local-state.ts';
import type { Entry } from '../center/messages.ts';
import { comparePositions, ORIGIN, type Position } from '../topology/position.ts';
import { makeEntries, opsOf } from './entry.ts';

/** The history of a primary's store. */
export interface History {
  readonly store: StateStore;
  /** Of before the current reign. */
  readonly applied: Applied;
  /** All own reigns, the current one last. */
  readonly reigns: readonly Reign[];
}

/**
 * The local revision at which this store stood at `position`, so that what came after it is exactly what a copy at that
 * position lacks. Undefined when the position is not (or no longer) in this history: the copy diverged, or the history was
 * compacted; it must be rebuilt.
 *
 * In an own reign, a position *is* a local revision. Before, each applied entry left its position in {@link APPLIED_KEY}, whose
 * history only grows since the last rebuild: hence binary search over the key's past values.
 */
export async function locate(
  history: History,
  position: Position,
  headRevision: number,
): Promise<number | undefined> {
  // An empty copy is rebuilt: reading everything once is never more than replaying everything that ever happened.
  if (comparePositions(position, ORIGIN) === 0) return undefined;
  const reign = history.reigns.find(({ generation }) => generation === position.generation);
  if (reign !== undefined) {
    const to = reign === history.reigns.at(-1) ? headRevision : (reign.to ?? 0);
    return position.revision >= reign.from && position.revision <= to ? position.revision : undefined;
  }
  let low = Math.max(1, history.applied.since);
  let high = (history.reigns.at(-1)?.from ?? 1) - 1;
  if (high < low) return undefined;
  try {
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const there = await appliedAt(history.store, middle);
      if (comparePositions(there.position, position) >= 0) high = middle;
      else low = middle + 1;
    }
    const found = await appliedAt(history.store, low);
    return comparePositions(found.position, position) === 0 ? low : undefined;
  } catch (error) {
    if (isHeptadError(error, 'COMPACTED')) return undefined;
    throw error;
  }
}

async function appliedAt(store: StateStore, revision: number): Promise<Applied> {
  const { kvs } = await store.range({ key: APPLIED_KEY, revision });
  return kvs[0] === undefined ? NOTHING_APPLIED : parseApplied(kvs[0].value);
}

/** Splits what a watch yields into revisions. */
export function byRevision(events: readonly WatchEvent[]): (readonly [number, readonly WatchEvent[]])[] {
  const groups: [number, WatchEvent[]][] = [];
  for (const event of events) {
    const last = groups.at(-1);
    if (last !== undefined && last[0] === event.revision) last[1].push(event);
    else groups.push([event.revision, [event]]);
  }
  return groups;
}

/** The entries of one local revision; none when it changed nothing that is replicated. */
export function entriesOf(
  history: History,
  revision: number,
  events: readonly WatchEvent[],
  bytesBefore: number,
): Entry[] {
  const ops = opsOf(events);
  if (ops.length === 0) return [];
  return makeEntries(positionOf(history.reigns, revision, events), ops, bytesBefore);
}

// Undefined: an applied part whose last part (in a later revision) carries the position.
function positionOf(
  reigns: readonly Reign[],
  revision: number,
  events: readonly WatchEvent[],
): Position | undefined {
  const current = reigns.at(-1);
  const reign = reigns.find(({ from, to }, index) => {
    const end = index === reigns.length - 1 ? Number.POSITIVE_INFINITY : (to ?? 0);
    return revision >= from && revision <= end;
  });
  if (reign !== undefined) return { generation: reign.generation, revision };
  if (current === undefined) return undefined;
  for (const event of events) {
    if (event.type === 'put' && event.kv.key === APPLIED_KEY) return parseApplied(event.kv.value).position;
  }
  return undefined;
}
