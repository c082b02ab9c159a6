// The StateStore contract made executable: every engine runs these cases unchanged.

import type { StateStore } from '../contracts/state-store.ts';
import { historyCases } from './state-store/history.ts';
import { leaseCases } from './state-store/leases.ts';
import { rangeCases } from './state-store/ranges.ts';
import { txnCases } from './state-store/txns.ts';
import { watchCases } from './state-store/watches.ts';
import type { ConformanceCase } from './suite.ts';

/** What the suite needs beside a fresh, empty store. */
export interface StateStoreHarness extends AsyncDisposable {
  readonly store: StateStore;
  /** Lets time pass for store and leases alike: virtual time at once, or really waiting. */
  advance(ms: number): Promise<void>;
  /** Grants a lease that nobody keeps alive, as a crashed client leaves behind. Answers its id. */
  abandonedLease(ttlMs: number): Promise<string>;
  /** Ends a lease behind its holder's back. */
  revokeBehind(leaseId: string): Promise<void>;
  /** Shortest time to live the engine takes. Default 300 ms; etcd counts in whole seconds. */
  readonly leaseTtlMs?: number;
}

/**
 * Cases for any {@link StateStore}; the factory gives a fresh, empty store at revision 0 each time.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { stateStoreConformance } from '@heptad/core/conformance';
 * import { VirtualClock } from '@heptad/core/sim';
 *
 * for (const testCase of stateStoreConformance) {
 *   await testCase.run(async () => {
 *     const clock = new VirtualClock();
 *     const store = new MemoryStateStore({ clock });
 *     return {
 *       store,
 *       advance: (ms) => clock.advance(ms),
 *       abandonedLease: async (ttlMs) => (await store.grantLease({ ttlMs })).id,
 *       revokeBehind: (id) => store.revokeLease(id),
 *       [Symbol.asyncDispose]: () => store.close(),
 *     };
 *   });
 * }
 * ```
 */
export const stateStoreConformance: readonly ConformanceCase<StateStoreHarness>[] = [
  ...rangeCases,
  ...txnCases,
  ...historyCases,
  ...watchCases,
  ...leaseCases,
];
