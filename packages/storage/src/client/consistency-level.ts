// The consistency levels by name, for those who would rather not write strings.

import type { ConsistencyLevel as Level } from '@heptad/core';

/**
 * - `Strong`: linearizable single-object reads and writes.
 * - `Eventual`: any one replica; may be stale.
 * - `ReadYourWrites`: never older than what the session has read or written.
 *
 * @example
 * ```ts
 * import { ConsistencyLevel } from '@heptad/storage';
 *
 * const level: ConsistencyLevel = ConsistencyLevel.Strong;
 * console.log(level); // strong
 * ```
 */
export const ConsistencyLevel: {
  readonly Strong: 'strong';
  readonly Eventual: 'eventual';
  readonly ReadYourWrites: 'read-your-writes';
} = { Strong: 'strong', Eventual: 'eventual', ReadYourWrites: 'read-your-writes' };

/** One of the values of {@link ConsistencyLevel}. */
export type ConsistencyLevel = Level;
