// Key order and key ranges: what every state store must agree on.

import type { Key, RangeQuery } from '../contracts/state-store.ts';

/** Moves surrogates above the rest of the basic plane, so that UTF-16 units compare as their UTF-8 bytes do. */
function byteRank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

/** Compares keys by their UTF-8 bytes, as all state stores order them: negative, 0 or positive. */
export function compareKeys(a: Key, b: Key): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return byteRank(left) - byteRank(right);
  }
  return a.length - b.length;
}

/** A range as a query or a delete names it. */
export type KeyRange = Pick<RangeQuery, 'key' | 'end' | 'prefix'>;

/** Whether `key` lies in the range: the key itself, the prefix, or `[key, end)`. */
export function inKeyRange(key: Key, range: KeyRange): boolean {
  if (range.prefix === true) return key.startsWith(range.key);
  if (range.end === undefined) return key === range.key;
  return compareKeys(key, range.key) >= 0 && compareKeys(key, range.end) < 0;
}

/** First index in `sorted` whose key is not below `key` (its length when there is none). */
export function lowerBound(sorted: readonly Key[], key: Key): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(sorted[middle] ?? '', key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
