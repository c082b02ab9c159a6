// The head of a reign: how far the primary's own store has come, seen through its own watch.

import { type Clock, HeptadError, Pulse, type StateStore } from '@heptad/core';
import type { Progress } from '../center/messages.ts';
import { opBytes, opsOf } from './entry.ts';
import { byRevision } from './feed.ts';

/** Write times remembered to tell how long a backup is behind. */
const MARKS_MAX = 10_000;

/** Follows the primary's store while it reigns. */
export class Head {
  readonly #clock: Clock;
  readonly #generation: number;
  readonly #changed = new Pulse();
  readonly #marks: { revision: number; atMs: number }[] = [];
  #seen: number;
  #revision: number;
  #bytes: number;
  #failed: HeptadError | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly generation: number;
    /** First revision of the reign. */
    readonly from: number;
    readonly bytes: number;
  }) {
    this.#clock = options.clock;
    this.#generation = options.generation;
    this.#seen = options.from - 1;
    this.#revision = options.from;
    this.#bytes = options.bytes;
  }

  /** Follows until aborted. */
  async follow(store: StateStore, signal: AbortSignal): Promise<void> {
    try {
      for await (const events of store.watch({ prefix: '', fromRevision: this.#seen + 1, signal })) {
        for (const [revision, own] of byRevision(events)) {
          const ops = opsOf(own);
          this.#seen = revision;
          if (ops.length === 0) continue;
          this.#revision = revision;
          this.#bytes += ops.reduce((sum, op) => sum + opBytes(op), 0);
          this.#marks.push({ revision, atMs: this.#clock.monotonicMs() });
          if (this.#marks.length > MARKS_MAX) this.#marks.shift();
        }
        this.#changed.notify();
      }
    } catch (cause) {
      this.#failed = new HeptadError('STORE_FAILED', 'cannot follow the own state store any more', { cause });
    }
    this.#failed ??= new HeptadError('NOT_PRIMARY', 'the reign is over');
    this.#changed.notify();
  }

  /** Last replicated revision, and the bytes up to there. */
  get progress(): Progress {
    return { position: { generation: this.#generation, revision: this.#revision }, bytes: this.#bytes };
  }

  /** Last local revision seen, replicated or not. */
  get seen(): number {
    return this.#seen;
  }

  /** Resolves when the watch has come to `revision`. Rejects when the reign ends first. */
  async reached(revision: number): Promise<void> {
    while (this.#seen < revision) {
      if (this.#failed !== undefined) throw this.#failed;
      await this.#changed.wait();
    }
  }

  /** How long a copy at `revision` has been behind, milliseconds; 0 when it is not. */
  behindMs(revision: number): number {
    if (revision >= this.#revision) return 0;
    const first = this.#marks.find((mark) => mark.revision > revision);
    return first === undefined ? 0 : this.#clock.monotonicMs() - first.atMs;
  }
}
