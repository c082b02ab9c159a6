// The sender: keeps one backup up to date, from wherever it is, for as long as a reign lasts.

import { type Clock, errorMessage, HeptadError, Pulse } from '@heptad/core';
import {
  type Entry,
  type Rebuild,
  type Replicate,
  type ReplicateAnswer,
  replicateAnswerSchema,
} from '../center/messages.ts';
import { formatPosition, type Position } from '../topology/position.ts';
import { pages, StoreDigest } from './digest.ts';
import { opBytes } from './entry.ts';
import { byRevision, entriesOf, type History, locate } from './feed.ts';
import type { Head } from './head.ts';

/** Bytes of one message: small enough to be acknowledged soon, large enough to fill a line. */
const BATCH_BYTES = 2 * 1024 * 1024;
/** Entries waiting to be sent; beyond it the watch waits. */
const QUEUE_BYTES: number = 4 * BATCH_BYTES;
const QUEUE_ENTRIES = 5000;
/** An entry costs at least this, so that empty values do not make endless batches. */
const ENTRY_OVERHEAD_BYTES = 200;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2000;
/** Large transactions need longer than a heartbeat. */
const SEND_TIMEOUT_MS = 15_000;

/** What a sender works with. */
export interface SenderOptions {
  readonly self: string;
  readonly backup: string;
  readonly generation: number;
  readonly history: History;
  readonly head: Head;
  readonly clock: Clock;
  readonly call: (method: string, message: unknown, timeoutMs: number) => Promise<unknown>;
  /** The backup has everything up to this position durably. */
  readonly onAcknowledged: (position: Position) => void;
  /** The backup follows a later generation: this reign is over. */
  readonly onFenced: (generation: number) => void;
  readonly onEvent: (message: string) => void;
}

/** How one backup is doing. */
export interface SenderStatus {
  readonly backup: string;
  readonly state: 'connecting' | 'streaming' | 'rebuilding';
  readonly position?: Position;
  readonly lagBytes?: number;
  readonly lagMs?: number;
  /** Why it is not streaming. */
  readonly problem?: string;
}

/** Sends to one backup. */
export class Sender {
  readonly #options: SenderOptions;
  #state: SenderStatus['state'] = 'connecting';
  #position: Position | undefined;
  #bytes = 0;
  #problem: string | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Runs until aborted. Does not reject. */
  async run(signal: AbortSignal): Promise<void> {
    let waitMs = RETRY_FIRST_MS;
    while (!signal.aborted) {
      try {
        await this.#session(signal, () => {
          waitMs = RETRY_FIRST_MS;
        });
      } catch (error) {
        if (signal.aborted) return;
        this.#state = 'connecting';
        this.#problem = errorMessage(error);
        await this.#options.clock.sleep(waitMs, signal).catch(() => {});
        waitMs = Math.min(RETRY_MAX_MS, waitMs * 2);
      }
    }
  }

  status(): SenderStatus {
    const { backup, head, generation } = this.#options;
    const at = this.#position;
    if (at === undefined) {
      return {
        backup,
        state: this.#state,
        ...(this.#problem === undefined ? {} : { problem: this.#problem }),
      };
    }
    // Before its first entry of this reign a backup may still hold exactly what the reign began with.
    const revision = at.generation === generation ? at.revision : 0;
    return {
      backup,
      state: this.#state,
      position: at,
      lagBytes: Math.max(0, head.progress.bytes - this.#bytes),
      lagMs: Math.round(head.behindMs(revision)),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  async #session(signal: AbortSignal, alive: () => void): Promise<void> {
    const { history, head, backup } = this.#options;
    const asked = await this.#send({ previous: { generation: 0, revision: 0 }, entries: [], probe: true });
    alive();
    let from = asked.rebuilding
      ? undefined
      : await locate(history, asked.position, head.progress.position.revision);
    this.#position = asked.position;
    if (from === undefined) {
      this.#options.onEvent(
        `rebuilding the copy of ${backup}: it stands at ${formatPosition(asked.position)}, which is not in this centre's history`,
      );
      from = await this.#rebuild(signal);
    } else {
      this.#bytes = asked.bytes;
      this.#acknowledged(asked.position);
    }
    this.#state = 'streaming';
    this.#problem = undefined;
    await this.#stream(from, signal);
  }

  // The watch fills a queue, this loop empties it in batches: many small revisions travel together.
  async #stream(from: number, signal: AbortSignal): Promise<void> {
    const { history } = this.#options;
    const queue: Entry[] = [];
    let queued = 0;
    let failed: unknown;
    const filled = new Pulse();
    const emptied = new Pulse();
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const pump = async (): Promise<void> => {
      let bytes = this.#bytes;
      for await (const events of history.store.watch({
        prefix: '',
        fromRevision: from + 1,
        signal: either,
      })) {
        for (const [revision, own] of byRevision(events)) {
          for (const entry of entriesOf(history, revision, own, bytes)) {
            bytes = entry.bytes;
            queue.push(entry);
            queued += weigh(entry);
          }
        }
        filled.notify();
        while ((queued > QUEUE_BYTES || queue.length > QUEUE_ENTRIES) && !either.aborted)
          await emptied.wait(either);
      }
    };
    const pumping = pump().catch((error: unknown) => {
      failed = error;
      filled.notify();
    });
    try {
      while (!signal.aborted) {
        if (failed !== undefined) throw failed;
        if (queue.length === 0) {
          await filled.wait(signal);
          continue;
        }
        const batch: Entry[] = [];
        let size = 0;
        for (
          let next = queue[0];
          next !== undefined && (batch.length === 0 || size + weigh(next) <= BATCH_BYTES);
          next = queue[0]
        ) {
          batch.push(next);
          size += weigh(next);
          queue.shift();
        }
        queued -= size;
        emptied.notify();
        await this.#deliver(batch);
      }
    } finally {
      stop.abort();
      await pumping;
    }
  }

  async #deliver(entries: readonly Entry[]): Promise<void> {
    const previous = this.#position ?? { generation: 0, revision: 0 };
    const answer = await this.#send({ previous, entries });
    if (answer.outcome === 'mismatch') {
      throw new HeptadError(
        'MISMATCH',
        `${this.#options.backup} is at ${formatPosition(answer.position)}, expected ${formatPosition(previous)}`,
      );
    }
    this.#bytes = entries.at(-1)?.bytes ?? this.#bytes;
    this.#acknowledged(answer.position);
  }

  #acknowledged(position: Position): void {
    this.#position = position;
    // An older generation's position says nothing about what this reign wrote.
    if (position.generation === this.#options.generation) this.#options.onAcknowledged(position);
  }

  async #send(
    part: Pick<Replicate, 'previous' | 'entries'> & { readonly probe?: boolean },
  ): Promise<ReplicateAnswer> {
    const { self, generation, call, onFenced } = this.#options;
    const said = await call('replicate', { from: self, generation, ...part }, SEND_TIMEOUT_MS);
    const answer = replicateAnswerSchema.parse(said);
    if (answer.outcome === 'fenced') {
      onFenced(answer.generation);
      throw new HeptadError('FENCED', `${this.#options.backup} follows generation ${answer.generation}`);
    }
    return answer;
  }

  /** Sends everything as of one revision; resolves with that revision. */
  async #rebuild(signal: AbortSignal): Promise<number> {
    const { history, head, self, generation, call } = this.#options;
    this.#state = 'rebuilding';
    // Between these two lines nothing runs: head and seen belong together.
    const { position, bytes } = head.progress;
    const revision = head.seen;
    const step = async (part: Partial<Rebuild> & Pick<Rebuild, 'phase'>): Promise<void> => {
      if (signal.aborted) throw signal.reason;
      const message = { from: self, generation, after: '', kvs: [], position, bytes, ...part };
      const answer = replicateAnswerSchema.parse(await call('rebuild', message, SEND_TIMEOUT_MS));
      if (answer.outcome === 'fenced') {
        this.#options.onFenced(answer.generation);
        throw new HeptadError('FENCED', `${this.#options.backup} follows generation ${answer.generation}`);
      }
    };
    await step({ phase: 'begin' });
    const digest = new StoreDigest();
    let after = '';
    let kvs: { key: string; value: string; leaseId?: string }[] = [];
    let size = 0;
    const flush = async (upTo: string | undefined): Promise<void> => {
      await step({ phase: 'page', after, kvs, ...(upTo === undefined ? {} : { upTo }) });
      after = upTo ?? after;
      kvs = [];
      size = 0;
    };
    for await (const page of pages(history.store, { revision })) {
      for (const { key, value, leaseId } of page) {
        digest.add(key, value);
        kvs.push({ key, value, ...(leaseId === undefined ? {} : { leaseId }) });
        size += Buffer.byteLength(key) + Buffer.byteLength(value);
        if (size >= BATCH_BYTES) await flush(key);
      }
    }
    await flush(undefined);
    await step({ phase: 'end', digest: digest.finish() });
    this.#bytes = bytes;
    this.#acknowledged(position);
    return revision;
  }
}

function weigh(entry: Entry): number {
  return ENTRY_OVERHEAD_BYTES + entry.ops.reduce((sum, op) => sum + opBytes(op), 0);
}
