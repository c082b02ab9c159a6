// Delivers notifications over HTTP: timeouts, back-off, at least once.

import { type Clock, errorMessage, type Random, type Timer } from '@heptad/core';
import type { AlertArchive, OutboxEntry } from './archive.ts';

/** How deliveries behave. */
export interface DeliveryOptions {
  /** One attempt may take this long. Default 10,000 ms. */
  readonly timeoutMs?: number;
  /** First wait after a failure; doubles each time, with jitter. Default 1,000 ms. */
  readonly backoffMs?: number;
  /** Longest wait. Default 5 minutes. */
  readonly maxBackoffMs?: number;
  /** A notification is given up after this long. Default 24 hours. */
  readonly giveUpMs?: number;
}

/** What became of an attempt, for {@link AlertManagerOptions.onDelivery}. */
export interface DeliveryReport {
  readonly url: string;
  readonly outcome: 'delivered' | 'retrying' | 'given-up';
  readonly attempt: number;
  readonly error?: string;
  /** When the next attempt is due. */
  readonly nextAt?: number;
}

const DEFAULTS = { timeoutMs: 10_000, backoffMs: 1000, maxBackoffMs: 5 * 60_000, giveUpMs: 24 * 60 * 60_000 };
/** Receivers that are busy or restarting get better; any other 4xx means the request itself is wrong. */
const RETRYABLE_4XX = new Set([408, 425, 429]);
/** An outbox is looked at no later than this. */
const MAX_SLEEP_MS = 60_000;

/** Sends what is in the outbox, oldest first per URL, until it is closed. */
export class WebhookSender implements AsyncDisposable {
  readonly #archive: AlertArchive;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: Required<DeliveryOptions>;
  readonly #report: (report: DeliveryReport) => void;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(
    archive: AlertArchive,
    ports: { readonly clock: Clock; readonly random: Random },
    options: DeliveryOptions,
    report: (report: DeliveryReport) => void,
  ) {
    this.#archive = archive;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#options = { ...DEFAULTS, ...options };
    this.#report = report;
  }

  /** Says that there is something in the outbox. */
  wake(): void {
    if (this.#stop.signal.aborted || this.#running !== undefined) return;
    this.#timer?.cancel();
    this.#running = this.#drain().finally(() => {
      this.#running = undefined;
      this.#sleep();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  #sleep(): void {
    if (this.#stop.signal.aborted) return;
    const due = this.#archive.outbox().map((entry) => entry.nextAt);
    if (due.length === 0) return;
    const wait = Math.min(MAX_SLEEP_MS, Math.max(1, Math.min(...due) - this.#clock.now()));
    this.#timer = this.#clock.timer(wait, () => this.wake(), { unref: true });
  }

  async #drain(): Promise<void> {
    for (;;) {
      const now = this.#clock.now();
      // A receiver hears "resolved" only after "fired": a URL that waits for a retry blocks its later ones.
      const blocked = new Set<string>();
      const due: OutboxEntry[] = [];
      for (const entry of this.#archive.outbox()) {
        if (blocked.has(entry.url)) continue;
        blocked.add(entry.url);
        if (entry.nextAt <= now) due.push(entry);
      }
      if (due.length === 0 || this.#stop.signal.aborted) return;
      await Promise.all(due.map((entry) => this.#deliver(entry)));
    }
  }

  async #deliver(entry: OutboxEntry): Promise<void> {
    const attempt = entry.attempts + 1;
    const failure = await this.#post(entry);
    if (this.#stop.signal.aborted) return;
    if (failure === undefined) {
      this.#archive.settle(entry.id);
      this.#report({ url: entry.url, outcome: 'delivered', attempt });
      return;
    }
    const now = this.#clock.now();
    if (failure.final || now - entry.createdAt >= this.#options.giveUpMs) {
      this.#archive.settle(entry.id);
      this.#report({ url: entry.url, outcome: 'given-up', attempt, error: failure.error });
      return;
    }
    const exponential = Math.min(
      this.#options.maxBackoffMs,
      this.#options.backoffMs * 2 ** Math.min(entry.attempts, 30),
    );
    const nextAt = now + Math.ceil(exponential * (0.5 + this.#random.next() / 2));
    this.#archive.postpone(entry.id, nextAt, failure.error);
    this.#report({ url: entry.url, outcome: 'retrying', attempt, error: failure.error, nextAt });
  }

  async #post(entry: OutboxEntry): Promise<{ error: string; final: boolean } | undefined> {
    const timeout = new AbortController();
    const timer = this.#clock.timer(this.#options.timeoutMs, () => {
      timeout.abort(new Error(`no answer within ${this.#options.timeoutMs} ms`));
    });
    try {
      const response = await fetch(entry.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'heptad-alerts',
          'idempotency-key': `alert-${entry.id}`,
        },
        body: entry.payload,
        redirect: 'manual',
        signal: AbortSignal.any([timeout.signal, this.#stop.signal]),
      });
      await response.body?.cancel();
      if (response.ok) return undefined;
      const final = response.status >= 300 && response.status < 500 && !RETRYABLE_4XX.has(response.status);
      return { error: `it answered ${response.status}`, final };
    } catch (error) {
      const cause =
        error instanceof Error && error.cause !== undefined ? `: ${errorMessage(error.cause)}` : '';
      return { error: `${errorMessage(error)}${cause}`, final: false };
    } finally {
      timer.cancel();
    }
  }
}
