// A reign: what a centre does while it is primary of one generation. It begins with a first replicated record, sends to every
// backup, and tells when a revision is committed.

import { type Clock, HeptadError, type StateStore } from '@heptad/core';
import { CommitTracker } from '../replicate/commit.ts';
import { Head } from '../replicate/head.ts';
import { Sender, type SenderStatus } from '../replicate/sender.ts';
import type { Topology } from '../topology/topology.ts';
import { LEASED_PREFIX, type LocalState } from './local-state.ts';
import { addPromotion, type Promotion } from './promotions.ts';

const ORPHANS_PER_TXN = 60;
/** Long enough to be revoked before it ends by itself. */
const MIN_GRACE_MS = 5_000;

/** What a reign works with. */
export interface ReignOptions {
  readonly self: string;
  readonly topology: Topology;
  readonly generation: number;
  readonly store: StateStore;
  readonly local: LocalState;
  readonly clock: Clock;
  readonly promotion: Promotion;
  readonly call: (
    center: string,
    method: string,
    message: unknown,
    timeoutMs: number,
    signal: AbortSignal,
  ) => Promise<unknown>;
  /** Keys that hung on leases of the old primary live this long, for their owners to come back and claim them. */
  readonly orphanGraceMs: number;
  readonly onFenced: (generation: number, by: string) => void;
  readonly onEvent: (message: string) => void;
}

/** One reign. Made by {@link Reign.begin}. */
export class Reign {
  readonly generation: number;
  readonly head: Head;
  readonly #options: ReignOptions;
  readonly #commit: CommitTracker;
  readonly #senders: readonly Sender[];
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  readonly #writing = new Set<Promise<unknown>>();

  private constructor(options: ReignOptions, head: Head) {
    const { topology, self, clock, generation, store, local } = options;
    this.generation = generation;
    this.head = head;
    this.#options = options;
    const needed = topology.settings.replication === 'sync' ? topology.settings.syncBackups : 0;
    this.#commit = new CommitTracker({ needed, clock });
    this.#senders = topology.dataCenters
      .filter(({ name }) => name !== self)
      .map(
        ({ name }) =>
          new Sender({
            self,
            backup: name,
            generation,
            history: { store, applied: local.applied, reigns: local.reigns },
            head,
            clock,
            call: (method, message, timeoutMs) =>
              options.call(name, method, message, timeoutMs, this.#stop.signal),
            onAcknowledged: (position) => this.#commit.acknowledge(name, position.revision),
            onFenced: (later) => options.onFenced(later, name),
            onEvent: options.onEvent,
          }),
      );
  }

  /** Writes the reign's first record and begins to send. Called once the generation is won, under the centre's lock. */
  static async begin(options: ReignOptions): Promise<Reign> {
    const { store, local, generation, clock } = options;
    const { applied } = local;
    const before = (await store.range({ key: '/', limit: 1 })).revision;
    // First the note that revisions from here on are ours; a crash right after leaves a reign with nothing in it.
    await local.setReigns([...local.reigns, { generation, from: before + 2 }]);
    const revision = await addPromotion(store, options.promotion);
    const from = local.reigns.at(-1)?.from ?? 0;
    if (revision < from) {
      throw new HeptadError(
        'REIGN_FAILED',
        `generation ${generation} began at revision ${revision}, before its first ${from}`,
      );
    }
    const head = new Head({ clock, generation, from, bytes: applied.bytes });
    const reign = new Reign(options, head);
    reign.#running.push(head.follow(store, reign.#stop.signal));
    await head.reached(revision);
    reign.#running.push(...reign.#senders.map((sender) => sender.run(reign.#stop.signal)));
    reign.#running.push(
      reign.#adoptOrphans().catch((error: unknown) => options.onEvent(`orphaned leases: ${error}`)),
    );
    return reign;
  }

  /** Runs a write to the own store; {@link end} waits for it, so that the last position covers it. */
  write<T>(action: () => Promise<T>): Promise<T> {
    const running = action();
    const settled: Promise<unknown> = running.catch(() => {}).finally(() => this.#writing.delete(settled));
    this.#writing.add(settled);
    return running;
  }

  /** Resolves when all that is replicated up to the local `revision` is committed. Error: `UNKNOWN_OUTCOME`. */
  async committed(revision: number): Promise<void> {
    await this.head.reached(revision);
    await this.#commit.wait(
      this.head.progress.position.revision,
      this.#options.topology.timings.commitTimeoutMs,
    );
  }

  /** Resolves when `backup` has everything. Error: `BACKUP_BEHIND` when it does not within `timeoutMs`. */
  async caughtUp(backup: string, timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    await Promise.all(this.#writing);
    const { revision } = await this.#options.store.range({ key: '/', limit: 1 });
    await this.head.reached(revision);
    for (;;) {
      const status = this.replication().find((one) => one.backup === backup);
      const target = this.head.progress.position;
      if (status?.position?.generation === target.generation && status.position.revision >= target.revision)
        return;
      if (clock.monotonicMs() >= deadlineMs) {
        const where = status?.problem ?? `it is ${status?.lagBytes ?? '?'} bytes behind`;
        throw new HeptadError(
          'BACKUP_BEHIND',
          `${backup} has not caught up within ${timeoutMs} ms: ${where}`,
          { retryable: true },
        );
      }
      await clock.sleep(5);
    }
  }

  /** How each backup is doing. */
  replication(): readonly SenderStatus[] {
    return this.#senders.map((sender) => sender.status());
  }

  /**
   * Ends it. Resolves when nothing of it runs any more and its last position is written down, so that this centre can follow
   * the next primary from there.
   */
  async end(because: string): Promise<void> {
    const { store, local } = this.#options;
    this.#commit.end(because);
    // A write that lands after the last position was taken would be in this copy and in no history.
    await Promise.all(this.#writing);
    const { revision } = await store.range({ key: '/', limit: 1 });
    await this.head.reached(revision).catch(() => {});
    this.#stop.abort();
    await Promise.all(this.#running);
    const { position, bytes } = this.head.progress;
    const reigns = local.reigns.map((reign) =>
      reign.generation === this.generation ? { ...reign, to: position.revision } : reign,
    );
    await local.setReigns(reigns, { ...local.applied, position, bytes });
  }

  // Keys of the old primary's leases: nobody keeps those leases alive here. They get one last lease; an owner that is still
  // there writes its key again under its own, and the others vanish with this one.
  async #adoptOrphans(): Promise<void> {
    const { store, clock, orphanGraceMs } = this.#options;
    const { signal } = this.#stop;
    const { kvs: notes } = await store.range({ key: LEASED_PREFIX, prefix: true });
    if (notes.length === 0) return;
    // A store grants no lease of no time; revoking it is what ends the keys.
    const lease = await store.lease({ ttlMs: Math.max(MIN_GRACE_MS, orphanGraceMs) });
    for (let i = 0; i < notes.length && !signal.aborted; i += ORPHANS_PER_TXN) {
      for (const note of notes.slice(i, i + ORPHANS_PER_TXN)) {
        const key = note.key.slice(LEASED_PREFIX.length);
        const kv = (await store.range({ key })).kvs[0];
        await store.txn({
          compare: [{ key, target: 'modRevision', is: '=', than: kv?.modRevision ?? 0 }],
          success: [
            ...(kv === undefined || kv.leaseId !== undefined
              ? []
              : [{ op: 'put' as const, key, value: kv.value, leaseId: lease.id }]),
            { op: 'delete', key: note.key },
          ],
        });
      }
    }
    if (orphanGraceMs > 0) await clock.sleep(orphanGraceMs, signal).catch(() => {});
    await lease.revoke();
  }
}
