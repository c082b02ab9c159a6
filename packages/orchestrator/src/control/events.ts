// The event log: what was done to what, and why, as sentences; bounded, readable and watchable.

import { HeptadError, type Instant, type Op, type Random, type StateStore } from '@heptad/core';
import { z } from 'zod';
import { readPrefix } from './prefix-cache.ts';

/** One thing that was done. */
export interface OrchestratorEvent {
  readonly id: string;
  readonly at: Instant;
  /** `Kind/namespace/name`. */
  readonly object: string;
  readonly op: string;
  /** Why, as a sentence. */
  readonly because: string;
  /** Who did it: `orchestrator` or `agent/<node>`. */
  readonly source: string;
}

/** Events kept. At a few hundred bytes each that is well under a megabyte of state. */
export const EVENT_LIMIT = 2_000;
/** How far the log may grow beyond its limit before it is cut: cutting at each append would double the writes. */
const EVENT_SLACK = 200;

const schema = z.strictObject({
  at: z.number(),
  object: z.string(),
  op: z.string(),
  because: z.string(),
  source: z.string(),
});

/** Appends to, reads and watches the events of a namespace. Keys are UUIDs version 7, so key order is time order. */
export class EventLog {
  readonly #store: StateStore;
  readonly #prefix: string;
  readonly #random: Random;
  #appended = 0;

  constructor(store: StateStore, namespace: string, random: Random) {
    this.#store = store;
    this.#prefix = `/events/${namespace}/`;
    this.#random = random;
  }

  /** The put that records an event, for the transaction that does what it tells of. */
  append(event: Omit<OrchestratorEvent, 'id'>): Op {
    this.#appended += 1;
    const key = this.#prefix + this.#random.uuid(event.at);
    return { op: 'put', key, value: JSON.stringify(event) };
  }

  /** Records events on their own. */
  async write(events: readonly Omit<OrchestratorEvent, 'id'>[]): Promise<void> {
    if (events.length === 0) return;
    await this.#store.txn({ compare: [], success: events.map((event) => this.append(event)) });
    await this.prune();
  }

  /** The newest events, oldest first. Default limit 100. */
  async list(
    options: { limit?: number; object?: string } = {},
  ): Promise<{ events: OrchestratorEvent[]; revision: number }> {
    const { kvs, revision } = await readPrefix(this.#store, this.#prefix);
    const events = kvs
      .map((kv) => this.#decode(kv.key, kv.value))
      .filter((event) => options.object === undefined || event.object === options.object);
    return { events: events.slice(-(options.limit ?? 100)), revision };
  }

  /** Events as they are recorded, from now or from a revision on. Ends with the signal. */
  async *watch(
    options: { fromRevision?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<OrchestratorEvent> {
    for await (const changes of this.#store.watch({ prefix: this.#prefix, ...options })) {
      for (const change of changes) {
        if (change.type === 'put') yield this.#decode(change.kv.key, change.kv.value);
      }
    }
  }

  /** Deletes the oldest beyond the limit, now and then. */
  async prune(): Promise<void> {
    if (this.#appended < EVENT_SLACK) return;
    this.#appended = 0;
    const { kvs } = await readPrefix(this.#store, this.#prefix);
    const first = kvs[0];
    const keep = kvs[kvs.length - EVENT_LIMIT];
    if (first === undefined || keep === undefined || first.key === keep.key) return;
    await this.#store.txn({ compare: [], success: [{ op: 'delete', key: first.key, end: keep.key }] });
  }

  #decode(key: string, value: string): OrchestratorEvent {
    const parsed = schema.safeParse(JSON.parse(value));
    if (parsed.success) return { id: key.slice(this.#prefix.length), ...parsed.data };
    throw new HeptadError('INVALID_RESOURCE', `cannot read event ${key}: ${z.prettifyError(parsed.error)}`);
  }
}
