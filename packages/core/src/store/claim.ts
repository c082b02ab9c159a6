// Claim: one holder at a time of a key bound to a lease; what Election and Lock are made of.

import type { Compare, Key, Lease, Revision, StateStore, WatchEvent } from '../contracts/state-store.ts';
import { HeptadError, isHeptadError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { systemRandom } from '../ports/node/random.ts';
import type { Random } from '../ports/random.ts';
import { Backoff } from './backoff.ts';

/** After the store failed, first and longest wait before the next try. */
const RETRY_WAIT = { firstMs: 50, longestMs: 2_000 };

/** What is claimed, by whom. */
export interface ClaimOptions {
  readonly store: StateStore;
  readonly key: Key;
  /** The key's value while held: who it is, for people and observers. */
  readonly holder: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly random?: Random;
}

/**
 * A claim that was granted.
 *
 * A lease alone is no mutual exclusion: a paused holder may act after it ended. So every effect must carry `token` (it
 * only grows) and be refused where a higher one was seen; writes to the same state store add {@link Claim.fence} to
 * their compares.
 */
export class Claim implements AsyncDisposable {
  /** Fencing token: the revision at which the key was created. Later holders have higher ones. */
  readonly token: Revision;
  /** Holds exactly while this claim is the current one: add it to `compare` of every write made in its name. */
  readonly fence: Compare;
  /** Aborts when the claim is over or can no longer be sure not to be. */
  readonly lost: AbortSignal;
  readonly #lost = new AbortController();
  readonly #lease: Lease;

  constructor(options: ClaimOptions, lease: Lease, token: Revision) {
    this.token = token;
    this.fence = { key: options.key, target: 'createRevision', is: '=', than: token };
    this.#lease = lease;
    this.lost = this.#lost.signal;
    const end = (): void => this.#lost.abort(lease.lost.reason);
    if (lease.lost.aborted) end();
    else lease.lost.addEventListener('abort', end, { once: true });
    void this.#watchKey(options);
  }

  /** Somebody may delete the key while the lease lives on; then the claim is over too. */
  async #watchKey(options: ClaimOptions): Promise<void> {
    const query = { prefix: options.key, fromRevision: this.token + 1, signal: this.lost };
    try {
      for await (const events of options.store.watch(query)) {
        if (events.some((event) => event.type === 'delete' && event.key === options.key)) {
          this.#lost.abort(new HeptadError('LEASE_LOST', `${options.key} was taken from ${options.holder}`));
        }
      }
    } catch {
      // Without the watch the lease still ends the claim; it only hears of a stolen key later.
    }
  }

  /** Gives it up at once, so that another can have it. */
  release(): Promise<void> {
    return this.#lease.revoke();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/** Waits until nobody holds the key, then holds it. Rejects with the signal's reason when that aborts. */
export async function claim(options: ClaimOptions, signal?: AbortSignal): Promise<Claim> {
  const backoff = new Backoff(RETRY_WAIT, options.random ?? systemRandom);
  for (;;) {
    signal?.throwIfAborted();
    try {
      const lease = await options.store.lease({ ttlMs: options.ttlMs });
      const token = await contend(options, lease, signal).catch(async (error) => {
        await lease.revoke().catch(() => {});
        throw error;
      });
      if (token !== undefined) return new Claim(options, lease, token);
      await lease.revoke().catch(() => {});
    } catch (error) {
      signal?.throwIfAborted();
      if (isHeptadError(error, 'STORE_CLOSED') || isHeptadError(error, 'INVALID_ARGUMENT')) throw error;
      await options.clock.sleep(backoff.nextMs(), signal);
    }
  }
}

/** Tries while the lease lives; `undefined` when it was lost first. */
async function contend(
  options: ClaimOptions,
  lease: Lease,
  signal: AbortSignal | undefined,
): Promise<Revision | undefined> {
  const { store, key, holder } = options;
  while (!lease.lost.aborted) {
    signal?.throwIfAborted();
    const answer = await store
      .txn({
        compare: [{ key, target: 'createRevision', is: '=', than: 0 }],
        success: [{ op: 'put', key, value: holder, leaseId: lease.id }],
        failure: [{ op: 'range', query: { key } }],
      })
      .catch((error) => {
        // The outcome may be unknown. The key itself tells: only our put carries our lease.
        if (isHeptadError(error, 'UNKNOWN_OUTCOME')) return undefined;
        throw error;
      });
    if (answer?.succeeded) return answer.revision;
    const read = await store.range({ key });
    const held = read.kvs[0];
    if (held?.leaseId === lease.id) return held.createRevision;
    if (held !== undefined) await vacated(store, key, read.revision, lease.lost, signal);
  }
  return undefined;
}

/** Resolves when the key was deleted after `revision`, or when there is no more reason to wait. */
async function vacated(
  store: StateStore,
  key: Key,
  revision: Revision,
  lost: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  lost.addEventListener('abort', abort, { once: true });
  signal?.addEventListener('abort', abort, { once: true });
  if (lost.aborted || signal?.aborted) stop.abort();
  const gone = (event: WatchEvent): boolean => event.type === 'delete' && event.key === key;
  try {
    const query = { prefix: key, fromRevision: revision + 1, signal: stop.signal };
    for await (const events of store.watch(query)) if (events.some(gone)) return;
  } catch (error) {
    // Compacted: the key may long be free. The caller looks again.
    if (!isHeptadError(error, 'COMPACTED')) throw error;
  } finally {
    lost.removeEventListener('abort', abort);
    signal?.removeEventListener('abort', abort);
  }
}
