// Election and Lock: one leader, one holder, each with a fencing token.

import type { Compare, Key, KeyValue, Revision, StateStore } from '../contracts/state-store.ts';
import { isHeptadError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { systemClock } from '../ports/node/clock.ts';
import type { Random } from '../ports/random.ts';
import { type Claim, type ClaimOptions, claim } from './claim.ts';

/** Key of an election: `/elections/<name>`. */
export function electionKey(name: string): Key {
  return `/elections/${name}`;
}

/** Key of a lock: `/locks/<name>`. */
export function lockKey(name: string): Key {
  return `/locks/${name}`;
}

/** Time until a dead holder is replaced, when nothing else is said. */
const DEFAULT_TTL_MS = 10_000;

/** What an {@link Election} is about. */
export interface ElectionOptions {
  readonly store: StateStore;
  readonly name: string;
  /** Who stands: what observers see. */
  readonly candidate: string;
  /** A dead leader is replaced after this long. Default 10 s. */
  readonly ttlMs?: number;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
  readonly random?: Random;
}

/** The office, while it lasts. */
export interface Leadership extends AsyncDisposable {
  /** Fencing token: grows with every new leader. Give it to all that you command, and have them refuse a lower one. */
  readonly token: Revision;
  /** Add it to `compare` of every transaction made as the leader: it fails once there is another. */
  readonly fence: Compare;
  /** Aborts as soon as leadership is over or can no longer be sure. Stop acting then. */
  readonly lost: AbortSignal;
  /** Steps down at once. */
  resign(): Promise<void>;
}

/** Who leads. */
export interface Leader {
  readonly candidate: string;
  readonly token: Revision;
}

function asLeadership(held: Claim): Leadership {
  return {
    token: held.token,
    fence: held.fence,
    lost: held.lost,
    resign: () => held.release(),
    [Symbol.asyncDispose]: () => held.release(),
  };
}

function asLeader(kv: KeyValue): Leader {
  return { candidate: kv.value, token: kv.createRevision };
}

/**
 * Elects one leader by a lease in the state store.
 *
 * Two may believe to lead at the same moment (a paused one does not know yet that it was replaced); what protects is
 * the token: use {@link Leadership.fence} in transactions and `token` everywhere else.
 *
 * @example
 * ```ts
 * import { Election, MemoryStateStore } from '@heptad/core';
 *
 * await using store = new MemoryStateStore();
 * const election = new Election({ store, name: 'orders', candidate: 'a', ttlMs: 5_000 });
 * const leadership = await election.campaign();
 * await store.txn({ compare: [leadership.fence], success: [{ op: 'put', key: '/orders/master', value: 'a' }] });
 * await leadership.resign();
 * ```
 */
export class Election {
  readonly #options: ClaimOptions;

  constructor(options: ElectionOptions) {
    this.#options = {
      store: options.store,
      key: electionKey(options.name),
      holder: options.candidate,
      ttlMs: options.ttlMs ?? DEFAULT_TTL_MS,
      clock: options.clock ?? systemClock,
      ...(options.random === undefined ? {} : { random: options.random }),
    };
  }

  /** Waits until elected. Rejects with the signal's reason when that aborts. Goes on trying while the store is away. */
  async campaign(signal?: AbortSignal): Promise<Leadership> {
    return asLeadership(await claim(this.#options, signal));
  }

  /** The present leader (`undefined`: none), then each change, until the signal aborts. */
  async *observe(signal?: AbortSignal): AsyncGenerator<Leader | undefined> {
    const { store, key } = this.#options;
    let last: Revision | undefined;
    while (signal?.aborted !== true) {
      const { kvs, revision } = await store.range({ key });
      const present = kvs[0];
      if (last !== (present?.createRevision ?? 0))
        yield present === undefined ? undefined : asLeader(present);
      last = present?.createRevision ?? 0;
      const query = { prefix: key, fromRevision: revision + 1, ...(signal === undefined ? {} : { signal }) };
      try {
        for await (const events of store.watch(query)) {
          for (const event of events) {
            const at = event.type === 'put' ? event.kv.key : event.key;
            if (at !== key) continue;
            const token = event.type === 'put' ? event.kv.createRevision : 0;
            if (token === last) continue;
            last = token;
            yield event.type === 'put' ? asLeader(event.kv) : undefined;
          }
        }
      } catch (error) {
        if (!isHeptadError(error, 'COMPACTED')) throw error;
      }
    }
  }
}

/** What a {@link Lock} is about. */
export interface LockOptions {
  readonly store: StateStore;
  readonly name: string;
  /** Who wants it: what others see. */
  readonly holder: string;
  /** A dead holder's lock is free after this long. Default 10 s. */
  readonly ttlMs?: number;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
  readonly random?: Random;
}

/** A lock that is held. */
export interface HeldLock extends AsyncDisposable {
  /** Fencing token, as {@link Leadership.token}. */
  readonly token: Revision;
  /** As {@link Leadership.fence}. */
  readonly fence: Compare;
  /** Aborts when it is over or can no longer be sure. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * A lock by lease. It spares duplicate work; correctness comes from its token or fence, see {@link Election}.
 *
 * @example
 * ```ts
 * import { Lock, MemoryStateStore } from '@heptad/core';
 *
 * await using store = new MemoryStateStore();
 * await using held = await new Lock({ store, name: 'migration', holder: 'a' }).acquire();
 * console.log(held.token > 0); // true
 * ```
 */
export class Lock {
  readonly #options: ClaimOptions;

  constructor(options: LockOptions) {
    this.#options = {
      store: options.store,
      key: lockKey(options.name),
      holder: options.holder,
      ttlMs: options.ttlMs ?? DEFAULT_TTL_MS,
      clock: options.clock ?? systemClock,
      ...(options.random === undefined ? {} : { random: options.random }),
    };
  }

  /** Waits until it is ours. Rejects with the signal's reason when that aborts. */
  acquire(signal?: AbortSignal): Promise<HeldLock> {
    return claim(this.#options, signal);
  }
}
