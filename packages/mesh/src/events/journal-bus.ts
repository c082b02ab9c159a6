// JournalEventBus: an EventBus over a Journal: batches publishes, runs subscriptions.

import {
  type Clock,
  type DeliveredEvent,
  type EventBus,
  invalidArgument,
  type NewEvent,
  type Position,
  type Random,
  type Subscription,
  systemClock,
  systemRandom,
  type Timer,
} from '@heptad/core';
import type { Append, Journal } from './journal.ts';
import { JournalSubscription } from './journal-subscription.ts';
import { busClosed, checkGroup, checkTopic, encodeEvent, MAX_READ_LIMIT } from './rules.ts';

/** Options of both embedded buses. */
export interface JournalEventBusOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Events stay at least this long, and until every group has handled them. Default 7 days. */
  readonly retentionMs?: number;
  /** Events a topic may hold; beyond, `publish` fails with `TOPIC_FULL`. Default 10,000,000. */
  readonly maxTopicEvents?: number;
  /** Hears failures of handlers (the event comes again by itself) and of the log (it is tried again). */
  readonly onError?: (error: unknown, event?: DeliveredEvent) => void;
}

interface Waiting extends Append {
  readonly resolve: (position: Position) => void;
  readonly reject: (error: unknown) => void;
}

/** Publishes that share one disk flush; more wait for the next. */
const MAX_BATCH = 1_000;
/** Publishes that may wait for a flush; the disk is too slow when there are more. */
const MAX_WAITING = 20_000;
/** Old events are removed in small steps, so that no single one is noticed. */
const TRIM_INTERVAL_MS = 60_000;
const TRIM_STEP = 10_000;
const DEFAULT_RETENTION_MS = 7 * 24 * 3_600_000;
const DEFAULT_MAX_TOPIC_EVENTS = 10_000_000;

/** The bus behind `SqliteEventBus` and `MemoryEventBus`. */
export class JournalEventBus implements EventBus {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #maxTopicEvents: number;
  readonly #onError: ((error: unknown, event?: DeliveredEvent) => void) | undefined;
  readonly #subscriptions = new Set<JournalSubscription>();
  readonly #trimmer: Timer;
  #waiting: Waiting[] = [];
  #flush: Timer | undefined;
  #closing: Promise<void> | undefined;

  protected constructor(journal: Journal, options: JournalEventBusOptions) {
    this.#journal = journal;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#maxTopicEvents = options.maxTopicEvents ?? DEFAULT_MAX_TOPIC_EVENTS;
    this.#onError = options.onError;
    const retentionMs = options.retentionMs ?? DEFAULT_RETENTION_MS;
    this.#trimmer = this.#clock.interval(
      TRIM_INTERVAL_MS,
      () => void journal.trim(this.#clock.now() - retentionMs, TRIM_STEP),
      { unref: true },
    );
  }

  async publish(topic: string, event: NewEvent): Promise<Position> {
    checkTopic(topic);
    const stored = encodeEvent(topic, event);
    if (this.#closing !== undefined) throw busClosed(`publish to ${topic}`);
    if (this.#waiting.length >= MAX_WAITING) {
      throw invalidArgument(`cannot publish to ${topic}: ${MAX_WAITING} events wait for the disk already`);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ topic, event: stored, resolve, reject });
      // One flush for all that arrive in this turn of the event loop: a flush costs the same for one as for hundreds.
      this.#flush ??= this.#clock.timer(0, () => this.#flushWaiting());
    });
  }

  #flushWaiting(): void {
    this.#flush = undefined;
    const batch = this.#waiting.splice(0, MAX_BATCH);
    if (this.#waiting.length > 0) this.#flush = this.#clock.timer(0, () => this.#flushWaiting());
    if (batch.length === 0) return;
    let results: ReturnType<Journal['append']>;
    try {
      results = this.#journal.append(batch, this.#clock.now(), this.#maxTopicEvents);
    } catch (error) {
      for (const one of batch) one.reject(error);
      return;
    }
    const topics = new Set<string>();
    batch.forEach((one, index) => {
      const result = results[index];
      if (typeof result === 'number') {
        topics.add(one.topic);
        one.resolve(result);
      } else one.reject(result);
    });
    for (const subscription of this.#subscriptions) if (topics.has(subscription.topic)) subscription.wake();
  }

  subscribe(
    topic: string,
    options: { group: string; from?: 'beginning' | 'end'; signal?: AbortSignal },
    handler: (event: DeliveredEvent) => Promise<void>,
  ): Subscription {
    checkTopic(topic);
    checkGroup(options.group);
    if (this.#closing !== undefined) throw busClosed(`subscribe to ${topic}`);
    const group = this.#journal.group(topic, options.group, options.from ?? 'beginning');
    const subscription = new JournalSubscription({
      topic,
      group,
      journal: this.#journal,
      clock: this.#clock,
      random: this.#random,
      handler,
      onError: this.#onError,
      onSettled: () => this.#wakeGroup(group),
      onClosed: () => void this.#subscriptions.delete(subscription),
    });
    this.#subscriptions.add(subscription);
    options.signal?.addEventListener('abort', () => void subscription.close(), { once: true });
    if (options.signal?.aborted) void subscription.close();
    else subscription.start();
    return subscription;
  }

  async read(topic: string, options: { after?: Position; limit?: number } = {}): Promise<DeliveredEvent[]> {
    checkTopic(topic);
    if (this.#closing !== undefined) throw busClosed(`read ${topic}`);
    const limit = options.limit ?? 100;
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_READ_LIMIT) {
      throw invalidArgument(`limit must be a whole number from 1 to ${MAX_READ_LIMIT}, got ${limit}`);
    }
    return this.#journal.read(topic, options.after ?? 0, limit);
  }

  /** Publishes under way end, running handlers are waited for. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#trimmer.cancel();
    while (this.#waiting.length > 0) {
      this.#flush?.cancel();
      this.#flushWaiting();
    }
    this.#flush?.cancel();
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    this.#journal.close();
  }

  /** What one member settled may free the next event of its key for another. */
  #wakeGroup(group: number): void {
    for (const subscription of this.#subscriptions) if (subscription.group === group) subscription.wake();
  }
}
