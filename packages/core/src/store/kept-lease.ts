// The holder's side of a lease: keeps it alive in the background and says when it can no longer be trusted.

import type { Lease, StateStore } from '../contracts/state-store.ts';
import { HeptadError, isHeptadError } from '../errors.ts';
import type { Clock, Timer } from '../ports/clock.ts';

/** A lease without a keeper. */
export interface GrantedLease {
  readonly id: string;
  readonly ttlMs: number;
}

/**
 * A store that also hands out leases nobody keeps alive: what a server needs to keep them for its remote clients.
 */
export interface LeaseGrantingStore extends StateStore {
  /** Grants a lease that ends `ttlMs` after now unless {@link LeaseGrantingStore.keepAlive} is called. */
  grantLease(options: { ttlMs: number }): Promise<GrantedLease>;
  /** Counts the time to live from now again. `LEASE_NOT_FOUND` when it has ended. */
  keepAlive(leaseId: string): Promise<GrantedLease>;
  /** Ends it now and deletes its keys in one transaction. `LEASE_NOT_FOUND` when it has ended. */
  revokeLease(leaseId: string): Promise<void>;
}

/** How {@link KeptLease} reaches the store. */
export interface KeptLeaseOptions {
  readonly id: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Monotonic time just before the request that granted it was sent: its life is counted from there. */
  readonly grantedAtMs: number;
  /** One keep-alive. Rejects with `LEASE_NOT_FOUND` when the lease is gone, with anything else to be tried again. */
  readonly keepAlive: () => Promise<void>;
  readonly revoke: () => Promise<void>;
}

/** A keep-alive is sent each third of a life, as etcd's clients do... */
const KEEP_ALIVE_SHARE = 1 / 3;
/** ...and after a failure again after each tenth, so that a short outage does not cost the lease. */
const RETRY_SHARE = 1 / 10;

/**
 * Keeps a granted lease alive and watches over it by the holder's own monotonic clock.
 *
 * Safety: the store counts the time to live from when it *received* a keep-alive, which is later than when we *sent* it.
 * Counting from the send, our view ends no later than the store's, whatever the network does with request and answer;
 * only a difference in the *rate* of the two clocks could break that.
 */
export class KeptLease implements Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly lost: AbortSignal;
  readonly #lost = new AbortController();
  readonly #options: KeptLeaseOptions;
  #keeper: Timer;
  #expiry: Timer;
  #aliveUntilMs: number;
  #ended = false;

  constructor(options: KeptLeaseOptions) {
    this.#options = options;
    this.id = options.id;
    this.ttlMs = options.ttlMs;
    this.lost = this.#lost.signal;
    this.#aliveUntilMs = options.grantedAtMs + options.ttlMs;
    this.#keeper = this.#armKeeper(KEEP_ALIVE_SHARE);
    this.#expiry = this.#armExpiry();
  }

  #armExpiry(): Timer {
    const { clock } = this.#options;
    const left = Math.max(0, this.#aliveUntilMs - clock.monotonicMs());
    return clock.timer(left, () => this.#checkExpiry(), { unref: true });
  }

  #checkExpiry(): void {
    if (this.#ended) return;
    if (this.#options.clock.monotonicMs() < this.#aliveUntilMs) {
      this.#expiry = this.#armExpiry();
      return;
    }
    this.#end(`no keep-alive of lease ${this.id} succeeded for its ${this.ttlMs} ms`);
  }

  /** The next keep-alive is armed when one is answered: a slow store is not asked more often the slower it gets. */
  #armKeeper(share: number): Timer {
    const ms = Math.max(1, Math.floor(this.ttlMs * share));
    return this.#options.clock.timer(ms, () => void this.#keepAlive(), { unref: true });
  }

  async #keepAlive(): Promise<void> {
    if (this.#ended) return;
    const sentAtMs = this.#options.clock.monotonicMs();
    let share = RETRY_SHARE;
    try {
      await this.#options.keepAlive();
      // An answer that comes after our own expiry must not revive a lease its holder was told is lost.
      if (!this.#ended) this.#aliveUntilMs = sentAtMs + this.ttlMs;
      share = KEEP_ALIVE_SHARE;
    } catch (error) {
      // Anything but "gone" is tried again; the expiry timer is the judge.
      if (isHeptadError(error, 'LEASE_NOT_FOUND')) this.#end(`the store ended lease ${this.id}`);
    }
    if (!this.#ended) this.#keeper = this.#armKeeper(share);
  }

  #end(why: string): void {
    if (this.#ended) return;
    this.#stop();
    this.#lost.abort(
      new HeptadError('LEASE_LOST', why, {
        hint: 'stop what the lease protects, then take a new one',
        details: { leaseId: this.id },
      }),
    );
  }

  #stop(): void {
    this.#ended = true;
    this.#keeper.cancel();
    this.#expiry.cancel();
  }

  /** Stops keeping it alive without ending it, as a crashed holder does: for stores that close. */
  abandon(why: string): void {
    this.#end(why);
  }

  async revoke(): Promise<void> {
    const alreadyEnded = this.#ended;
    this.#stop();
    if (!alreadyEnded) {
      this.#lost.abort(new HeptadError('LEASE_LOST', `lease ${this.id} was revoked by its holder`));
    }
    try {
      await this.#options.revoke();
    } catch (error) {
      // Gone is what was asked for.
      if (!isHeptadError(error, 'LEASE_NOT_FOUND') && !isHeptadError(error, 'STORE_CLOSED')) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.revoke();
  }
}
