// CircuitBreaker: stops calling what keeps failing, and finds out with one probe when it works again.

import {
  type Clock,
  HeptadError,
  invalidArgument,
  type Random,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { RollingWindow } from './rolling-window.ts';

/** `closed`: calls pass. `open`: calls are refused. `half-open`: one probe is out. */
export type CircuitState = 'closed' | 'open' | 'half-open';

/** Leave to make one call; give it back with {@link CircuitBreaker.record} or {@link CircuitBreaker.cancel}. */
export type CircuitPermit = number;

/** When a {@link CircuitBreaker} opens and how it recovers. */
export interface CircuitBreakerOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Named in errors. Default `circuit`. */
  readonly name?: string;
  /** Failures in a row that open it. Default 5 (Envoy's consecutive_5xx). */
  readonly consecutiveFailures?: number;
  /** Share of failures in the window that opens it, 0..1. Default 0.5. */
  readonly failureRate?: number;
  /** Calls in the window below which the rate does not count. Default 20. */
  readonly minimumCalls?: number;
  /** Length of the window. Default 10 s. */
  readonly windowMs?: number;
  /** Time before the first probe; doubles with each failed probe. Default 1 s. */
  readonly openMs?: number;
  /** Longest time between probes. Default 30 s. */
  readonly maxOpenMs?: number;
  /** A probe that has not reported after this long is given up and another may go. Default 30 s. */
  readonly probeTimeoutMs?: number;
  /** Told of each change. Must not throw. */
  readonly onChange?: (from: CircuitState, to: CircuitState) => void;
}

/** Ten buckets forget a tenth of the window at a time: fine enough, and small enough to keep one per endpoint. */
const WINDOW_BUCKETS = 10;
/** Probes of many breakers that opened together must not come back together. */
const OPEN_JITTER = 0.2;

/**
 * A circuit breaker: opens on consecutive failures or on the failure rate of a self-expiring window; after
 * `openMs` (exponential, with jitter) exactly one call is let through as a probe, whose success closes it. Results of
 * calls that began before the last change of state are ignored, so that stragglers neither open nor close it.
 *
 * Source: the failure accrual with probation of linkerd2-proxy; defaults of Envoy's outlier detection and Hystrix.
 *
 * @example
 * ```ts
 * import { CircuitBreaker } from '@heptad/mesh';
 *
 * const breaker = new CircuitBreaker({ name: 'payments', consecutiveFailures: 3 });
 * const answer = await breaker.execute(async () => 'paid');
 * console.log(answer, breaker.state);
 * ```
 */
export class CircuitBreaker {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: Required<Omit<CircuitBreakerOptions, 'clock' | 'random' | 'onChange'>>;
  readonly #onChange: ((from: CircuitState, to: CircuitState) => void) | undefined;
  readonly #window: RollingWindow;
  #state: CircuitState = 'closed';
  // INVARIANT: rises with every change of state; a permit of an older generation carries no information.
  #generation = 1;
  #consecutive = 0;
  #trips = 0;
  #until = 0;

  constructor(options: CircuitBreakerOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#onChange = options.onChange;
    this.#options = {
      name: options.name ?? 'circuit',
      consecutiveFailures: options.consecutiveFailures ?? 5,
      failureRate: options.failureRate ?? 0.5,
      minimumCalls: options.minimumCalls ?? 20,
      windowMs: options.windowMs ?? 10_000,
      openMs: options.openMs ?? 1_000,
      maxOpenMs: options.maxOpenMs ?? 30_000,
      probeTimeoutMs: options.probeTimeoutMs ?? 30_000,
    };
    const { consecutiveFailures, failureRate, minimumCalls, openMs, maxOpenMs } = this.#options;
    if (consecutiveFailures < 1 || minimumCalls < 1) {
      throw invalidArgument('a circuit breaker needs consecutiveFailures and minimumCalls of at least 1');
    }
    if (!(failureRate > 0 && failureRate <= 1)) {
      throw invalidArgument(`failureRate must be over 0 and at most 1, got ${failureRate}`);
    }
    if (!(openMs > 0) || maxOpenMs < openMs) {
      throw invalidArgument(`openMs must be positive and at most maxOpenMs, got ${openMs} and ${maxOpenMs}`);
    }
    this.#window = new RollingWindow({
      clock: this.#clock,
      windowMs: this.#options.windowMs,
      buckets: WINDOW_BUCKETS,
    });
  }

  /** The present state; an open circuit whose time is up says `open` until somebody asks for a permit. */
  get state(): CircuitState {
    return this.#state;
  }

  /** Milliseconds until an open circuit lets a probe through; 0 when it would now. */
  get retryAfterMs(): number {
    return this.#state === 'closed' ? 0 : Math.max(0, this.#until - this.#clock.monotonicMs());
  }

  /** Whether {@link acquire} would give a permit now. Changes nothing. */
  get available(): boolean {
    return this.#state === 'closed' || this.#clock.monotonicMs() >= this.#until;
  }

  /** A permit for one call, or 0 when the call must not be made. */
  acquire(): CircuitPermit {
    if (this.#state === 'closed') return this.#generation;
    const now = this.#clock.monotonicMs();
    if (now < this.#until) return 0;
    // Time is up: of an open circuit, or of a probe that never reported. One probe, of a new generation.
    this.#generation += 1;
    this.#until = now + this.#options.probeTimeoutMs;
    this.#change('half-open');
    return this.#generation;
  }

  /** Reports how a permitted call went. */
  record(permit: CircuitPermit, succeeded: boolean): void {
    if (permit !== this.#generation) return;
    if (this.#state === 'half-open') {
      if (succeeded) this.reset();
      else this.#open();
      return;
    }
    if (this.#state !== 'closed') return;
    this.#window.add(succeeded ? 1 : 0, succeeded ? 0 : 1);
    this.#consecutive = succeeded ? 0 : this.#consecutive + 1;
    if (!succeeded && this.#shouldOpen()) this.#open();
  }

  /** Gives a permit back without a verdict: the call was abandoned by its caller. Another probe may go at once. */
  cancel(permit: CircuitPermit): void {
    if (permit !== this.#generation || this.#state !== 'half-open') return;
    this.#generation += 1;
    this.#until = this.#clock.monotonicMs();
    this.#change('open');
  }

  /** Closes it and forgets the past, for instance when the other side is known to have been replaced. */
  reset(): void {
    this.#generation += 1;
    this.#consecutive = 0;
    this.#trips = 0;
    this.#until = 0;
    this.#window.clear();
    this.#change('closed');
  }

  /**
   * Runs `operation` when the circuit lets it; a rejection counts as failure.
   *
   * Errors: `CIRCUIT_OPEN` (retryable, `details.retryAfterMs`), else whatever `operation` throws.
   */
  async execute<T>(operation: () => Promise<T>): Promise<T> {
    const permit = this.acquire();
    if (permit === 0) {
      throw new HeptadError('CIRCUIT_OPEN', `${this.#options.name} keeps failing, so it is not called now`, {
        hint: `it is probed again in ${Math.ceil(this.retryAfterMs)} ms`,
        retryable: true,
        details: { name: this.#options.name, retryAfterMs: this.retryAfterMs },
      });
    }
    try {
      const result = await operation();
      this.record(permit, true);
      return result;
    } catch (error) {
      this.record(permit, false);
      throw error;
    }
  }

  #shouldOpen(): boolean {
    if (this.#consecutive >= this.#options.consecutiveFailures) return true;
    const { first: successes, second: failures } = this.#window.totals();
    const calls = successes + failures;
    return calls >= this.#options.minimumCalls && failures / calls >= this.#options.failureRate;
  }

  #open(): void {
    const backoff = Math.min(this.#options.openMs * 2 ** this.#trips, this.#options.maxOpenMs);
    this.#trips = Math.min(this.#trips + 1, 30);
    this.#until = this.#clock.monotonicMs() + backoff * (1 + OPEN_JITTER * this.#random.next());
    this.#generation += 1;
    this.#consecutive = 0;
    this.#window.clear();
    this.#change('open');
  }

  #change(to: CircuitState): void {
    const from = this.#state;
    this.#state = to;
    if (from !== to) this.#onChange?.(from, to);
  }
}
