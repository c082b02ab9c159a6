// Leases of the SQLite store: their rows in the file, their deadlines in memory, armed anew at each start.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import {
  type Clock,
  type GrantedLease,
  KeptLease,
  type Lease,
  leaseNotFoundError,
  type Random,
  type Timer,
  validateLeaseTtl,
  type WatchEvent,
} from '@heptad/core';
import type { CommitQueue } from './commit-queue.ts';
import type { StateTables } from './sqlite-tables.ts';

/** When the keys of an ended lease could not be removed, try again after this long. */
const END_AGAIN_MS = 1_000;

interface Held {
  readonly ttlMs: number;
  aliveUntilMs: number;
  timer: Timer;
}

/**
 * Which leases live and until when. Deadlines are not stored: after a restart every lease gets its whole time again,
 * for its holder could not have kept it alive meanwhile, and expiring it early would break the promise made.
 */
class LeaseDeadlines {
  readonly #clock: Clock;
  readonly #expired: (id: string) => void;
  readonly #leases = new Map<string, Held>();

  constructor(clock: Clock, expired: (id: string) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** Begins, or begins again, the life of a lease. */
  arm(id: string, ttlMs: number): void {
    this.#leases.get(id)?.timer.cancel();
    const aliveUntilMs = this.#clock.monotonicMs() + ttlMs;
    this.#leases.set(id, { ttlMs, aliveUntilMs, timer: this.#timer(id, ttlMs) });
  }

  /** Counts its life from now. `LEASE_NOT_FOUND` when it is over. */
  extend(id: string): GrantedLease {
    const held = this.require(id);
    held.aliveUntilMs = this.#clock.monotonicMs() + held.ttlMs;
    return { id, ttlMs: held.ttlMs };
  }

  /** The lease, while it lives. A late timer does not lengthen a life. `LEASE_NOT_FOUND`. */
  require(id: string): Held {
    const held = this.#leases.get(id);
    if (held === undefined || this.#clock.monotonicMs() >= held.aliveUntilMs) throw leaseNotFoundError(id);
    return held;
  }

  /** `LEASE_NOT_FOUND` when it is over; says nothing of a lease that was granted in the same batch or never. */
  requireIfKnown(id: string): void {
    if (this.#leases.has(id)) this.require(id);
  }

  drop(id: string): void {
    this.#leases.get(id)?.timer.cancel();
    this.#leases.delete(id);
  }

  /** Stops all timers. */
  close(): void {
    for (const held of this.#leases.values()) held.timer.cancel();
    this.#leases.clear();
  }

  #timer(id: string, ms: number): Timer {
    return this.#clock.timer(
      ms,
      () => {
        const held = this.#leases.get(id);
        if (held === undefined) return;
        const left = held.aliveUntilMs - this.#clock.monotonicMs();
        if (left > 0) {
          held.timer = this.#timer(id, left);
          return;
        }
        // Gone from here at once: a keep-alive that comes while the deletion waits for its commit must not revive it.
        this.#leases.delete(id);
        this.#expired(id);
      },
      { unref: true },
    );
  }
}

/** What {@link SqliteLeases} works on. */
export interface SqliteLeasesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly database: DatabaseSync;
  readonly queue: CommitQueue;
  readonly tables: StateTables;
  /** Makes committed events visible. */
  readonly publish: (events: readonly WatchEvent[]) => void;
}

/** Grants, keeps, ends and expires leases. */
export class SqliteLeases {
  readonly #options: SqliteLeasesOptions;
  readonly #deadlines: LeaseDeadlines;
  readonly #kept = new Set<KeptLease>();
  readonly #add: StatementSync;
  readonly #delete: StatementSync;
  #closed = false;

  constructor(options: SqliteLeasesOptions) {
    this.#options = options;
    this.#deadlines = new LeaseDeadlines(options.clock, (id) => void this.#end(id).catch(() => {}));
    this.#add = options.database.prepare('INSERT INTO lease VALUES (?, ?)');
    this.#delete = options.database.prepare('DELETE FROM lease WHERE id = ?');
    for (const { id, ttl_ms: ttlMs } of options.database.prepare('SELECT id, ttl_ms FROM lease').all()) {
      this.#deadlines.arm(String(id), Number(ttlMs));
    }
  }

  /** A lease kept alive by this process. */
  async lease(request: { ttlMs: number }): Promise<Lease> {
    const { clock } = this.#options;
    const grantedAtMs = clock.monotonicMs();
    const { id, ttlMs } = await this.grant(request);
    const keepAlive = async (): Promise<void> => {
      this.keepAlive(id);
    };
    const lease = new KeptLease({ id, ttlMs, grantedAtMs, clock, keepAlive, revoke: () => this.revoke(id) });
    this.#kept.add(lease);
    lease.lost.addEventListener('abort', () => this.#kept.delete(lease), { once: true });
    return lease;
  }

  async grant({ ttlMs }: { ttlMs: number }): Promise<GrantedLease> {
    validateLeaseTtl(ttlMs);
    const { clock, random, queue } = this.#options;
    const id = random.uuid(clock.now());
    await queue.submit({
      run: () => void this.#add.run(id, ttlMs),
      committed: () => this.#deadlines.arm(id, ttlMs),
    });
    return { id, ttlMs };
  }

  keepAlive(id: string): GrantedLease {
    return this.#deadlines.extend(id);
  }

  async revoke(id: string): Promise<void> {
    this.#deadlines.require(id);
    this.#deadlines.drop(id);
    await this.#end(id);
  }

  /** See {@link LeaseDeadlines.requireIfKnown}. */
  requireIfKnown(id: string): void {
    this.#deadlines.requireIfKnown(id);
  }

  /** Leases kept by this process are lost; all stay in the file. */
  close(): void {
    this.#closed = true;
    for (const lease of [...this.#kept]) lease.abandon('the state store was closed');
    this.#deadlines.close();
  }

  async #end(id: string): Promise<void> {
    const { queue, tables, publish, clock } = this.#options;
    try {
      await queue.submit({
        run: () => {
          const events = tables.deleteKeysOfLease(id);
          this.#delete.run(id);
          return events;
        },
        committed: publish,
      });
    } catch (error) {
      // The lease is over for its holder; its keys must follow as soon as the disk takes it.
      if (!this.#closed) {
        clock.timer(END_AGAIN_MS, () => void this.#end(id).catch(() => {}), { unref: true });
      }
      throw error;
    }
  }
}
