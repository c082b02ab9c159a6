// RemoteSubscription: a member of a group at the other end of a stream; reconnects for as long as it is open.

import {
  type Clock,
  type DeliveredEvent,
  HeptadError,
  isHeptadError,
  type Random,
  type Subscription,
} from '@heptad/core';
import { backoffMs } from '../resilience/retry.ts';
import { withDeadline } from './deadline.ts';
import type { RemoteAnswer } from './remote.ts';
import { MAX_LINE_BYTES, parseDelivery } from './wire.ts';

/** What a remote subscription needs of its bus. */
export interface RemoteSubscriptionOptions {
  readonly topic: string;
  readonly path: string;
  readonly request: (
    method: 'GET' | 'POST',
    path: string,
    signal: AbortSignal,
    body?: string,
  ) => Promise<RemoteAnswer>;
  readonly clock: Clock;
  readonly random: Random;
  readonly handler: (event: DeliveredEvent) => Promise<void>;
  readonly onError: ((error: unknown) => void) | undefined;
  readonly onClosed: () => void;
}

const RECONNECT = { baseMs: 100, maxMs: 5_000 };
const SETTLE_TIMEOUT_MS = 10_000;

/** Handles one event at a time, in the order the stream brings them. */
export class RemoteSubscription implements Subscription {
  readonly #options: RemoteSubscriptionOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #handling: Promise<void> = Promise.resolve();

  constructor(options: RemoteSubscriptionOptions) {
    this.#options = options;
  }

  /** Begins taking events. */
  start(): void {
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#options.onClosed();
    // The handler at work ends and settles first: giving its event back would have it done twice.
    this.#stopped = true;
    await this.#handling;
    this.#stop.abort();
    await this.#running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #stopped = false;

  async #run(): Promise<void> {
    for (let failures = 0; !this.#stopped; ) {
      try {
        await this.#stream(() => {
          failures = 0;
        });
      } catch (error) {
        if (this.#stopped) return;
        this.#options.onError?.(error);
      }
      failures += 1;
      const wait = backoffMs(failures, this.#options.random, RECONNECT);
      await this.#options.clock.sleep(wait, this.#stop.signal).catch(() => {});
    }
  }

  async #stream(onAlive: () => void): Promise<void> {
    const answer = await this.#options.request('GET', this.#options.path, this.#stop.signal);
    let held = '';
    const decoder = new TextDecoder();
    for await (const chunk of answer.body) {
      onAlive();
      held += decoder.decode(chunk, { stream: true });
      if (held.length > MAX_LINE_BYTES) {
        throw new HeptadError(
          'BAD_RESPONSE',
          `the event stream of ${this.#options.topic} sent an endless line`,
        );
      }
      for (let end = held.indexOf('\n'); end >= 0; end = held.indexOf('\n')) {
        const line = held.slice(0, end);
        held = held.slice(end + 1);
        if (line === '') continue;
        if (this.#stopped) return;
        this.#handling = this.#handle(line);
        await this.#handling;
      }
    }
  }

  async #handle(line: string): Promise<void> {
    const { delivery, event } = parseDelivery(line);
    let ok = true;
    try {
      await this.#options.handler(event);
    } catch (error) {
      ok = false;
      this.#options.onError?.(error);
    }
    try {
      await withDeadline(this.#options.clock, SETTLE_TIMEOUT_MS, async (signal) => {
        const path = `/deliveries/${delivery}`;
        const answer = await this.#options.request('POST', path, signal, `{"ok":${ok}}`);
        await answer.body.dump();
      });
    } catch (error) {
      // Unsettled events come again: nothing is lost, and the stream tells by itself whether it is still alive.
      if (isHeptadError(error, 'DELIVERY_GONE')) return;
      this.#options.onError?.(error);
      throw error;
    }
  }
}
