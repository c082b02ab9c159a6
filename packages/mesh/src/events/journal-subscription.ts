// JournalSubscription: one member of a group: takes an event, runs the handler, settles, takes the next.

import {
  type Clock,
  type DeliveredEvent,
  isHeptadError,
  type Random,
  type Subscription,
  type Timer,
} from '@heptad/core';
import type { Claim, Journal } from './journal.ts';

/** Wait before an event that failed comes again: first, and at most. */
const REDELIVERY_BASE_MS = 100;
const REDELIVERY_MAX_MS = 30_000;
/** After the log itself failed. */
const CLAIM_RETRY_MS = 1_000;

/** Thrown by a handler that gives an event back through no fault of its own: it comes again at once. */
export const CONSUMER_GONE = 'CONSUMER_GONE' as const;

/** What a subscription needs of its bus. */
export interface JournalSubscriptionOptions {
  readonly topic: string;
  readonly group: number;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  readonly handler: (event: DeliveredEvent) => Promise<void>;
  readonly onError: ((error: unknown, event?: DeliveredEvent) => void) | undefined;
  readonly onSettled: () => void;
  readonly onClosed: () => void;
}

/** Handles one event at a time. */
export class JournalSubscription implements Subscription {
  readonly topic: string;
  readonly group: number;
  readonly #options: JournalSubscriptionOptions;
  #wake: (() => void) | undefined;
  #rung = false;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: JournalSubscriptionOptions) {
    this.topic = options.topic;
    this.group = options.group;
    this.#options = options;
  }

  /** Begins taking events. */
  start(): void {
    this.#running = this.#run();
  }

  /** Looks again: something was published or settled. */
  wake(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#wake?.();
    this.#options.onClosed();
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    // The first look comes after `subscribe` has returned, so that the caller holds the subscription by then.
    await Promise.resolve();
    while (!this.#stopped) {
      this.#rung = false;
      const claim = this.#claim();
      if (claim.event === undefined) await this.#sleep(claim.dueInMs);
      else await this.#handle(claim.event);
    }
  }

  #claim(): Claim {
    try {
      return this.#options.journal.claim(this.topic, this.group, this.#options.clock.now());
    } catch (error) {
      // A disk that is full or failing may recover: the subscription must outlive it.
      this.#options.onError?.(error);
      return { event: undefined, dueInMs: CLAIM_RETRY_MS };
    }
  }

  async #handle(event: DeliveredEvent): Promise<void> {
    const { clock, handler } = this.#options;
    let dueAt: number | undefined;
    try {
      await handler(event);
    } catch (error) {
      const gone = isHeptadError(error, CONSUMER_GONE);
      dueAt = clock.now() + (gone ? 0 : this.#backoffMs(event.attempt));
      if (!gone) this.#options.onError?.(error, event);
    }
    await this.#settle(event, dueAt);
    this.#options.onSettled();
  }

  /** Until it is written down, this member takes nothing else: else the event would stay taken for good. */
  async #settle(event: DeliveredEvent, dueAt: number | undefined): Promise<void> {
    const { journal, clock } = this.#options;
    for (;;) {
      try {
        if (dueAt === undefined) journal.acknowledge(this.group, event.position);
        else journal.giveBack(this.group, event.position, dueAt);
        return;
      } catch (error) {
        this.#options.onError?.(error, event);
        // When we stop, what is still marked as taken is freed by the next opening of the file.
        if (this.#stopped) return;
        await clock.sleep(CLAIM_RETRY_MS);
      }
    }
  }

  #backoffMs(attempt: number): number {
    const full = Math.min(REDELIVERY_MAX_MS, REDELIVERY_BASE_MS * 2 ** Math.min(attempt - 1, 20));
    return full * (0.5 + 0.5 * this.#options.random.next());
  }

  async #sleep(dueInMs: number | undefined): Promise<void> {
    if (this.#rung || this.#stopped) return;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (dueInMs !== undefined) timer = this.#options.clock.timer(dueInMs, resolve);
    });
    timer?.cancel();
    this.#wake = undefined;
  }
}
