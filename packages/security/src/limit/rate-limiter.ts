// RateLimiter: the generic cell rate algorithm (GCRA), one integer per client, in bounded memory.
//
// Source: ITU-T I.371 as put by throttled/throttled: T = period/limit is the emission interval, tau = T * burst the
// tolerance, and each client has a theoretical arrival time TAT.
//   newTat = max(now, TAT) + cost * T;  allowAt = newTat - tau;  now < allowAt => refuse, else TAT = newTat.
// Unlike a fixed window it never lets twice the limit through around a window's edge.

import { type Clock, systemClock } from '@heptad/core';
import { SecurityError } from '../errors.ts';

/** Times are whole microseconds: sums stay exact (2^53 µs are 285 years) and a million requests/s can be told apart. */
const MICROS_PER_MS = 1_000;
const MAX_PER_SECOND = 1_000_000;
/** About 100 bytes each: 100,000 clients are some 10 MB. */
const DEFAULT_MAX_CLIENTS = 100_000;
/** Idle clients looked at per call, so that forgetting costs the same at any size. */
const SWEEP_PER_CALL = 4;
/** Clients that find no room share this entry. No client name begins with NUL: `check` refuses it. */
const OVERFLOW_CLIENT = '\0overflow';

/** Options of {@link RateLimiter}. */
export interface RateLimiterOptions {
  /** Requests a period, on average. 1 or more, at most a million a second. */
  readonly limit: number;
  /** Default 60,000 ms. */
  readonly periodMs?: number;
  /** Requests that may come at once after a rest. Default `limit`. */
  readonly burst?: number;
  /** Clients remembered. Beyond, new clients share one allowance: a flood of names cannot push anybody's debt out. */
  readonly maxClients?: number;
  /** Default the system's. Only its monotonic time is used. */
  readonly clock?: Clock;
}

/** The answer to one request. */
export interface RateLimitDecision {
  readonly allowed: boolean;
  /** Requests that may come at once at most. */
  readonly limit: number;
  /** Requests that could follow now. */
  readonly remaining: number;
  /** When refused: the same request is allowed after this long; `Infinity` when its cost exceeds the burst. 0 when allowed. */
  readonly retryAfterMs: number;
  /** Without further requests the whole burst is there again after this long. */
  readonly resetAfterMs: number;
}

/**
 * Limits how often each client may act.
 *
 * @example
 * ```ts
 * import { RateLimiter } from '@heptad/security';
 *
 * const limiter = new RateLimiter({ limit: 60, periodMs: 60_000, burst: 2 });
 * console.log([1, 2, 3].map(() => limiter.check('203.0.113.9').allowed)); // [ true, true, false ]
 * ```
 */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #intervalMicros: number;
  readonly #toleranceMicros: number;
  readonly #maxClients: number;
  /** Client -> theoretical arrival time in microseconds. A time in the past is the same as no entry. */
  readonly #arrivals = new Map<string, number>();
  #sweep: IterableIterator<[string, number]>;

  /** `INVALID_ARGUMENT` for limits that mean nothing. */
  constructor(options: RateLimiterOptions) {
    const periodMs = options.periodMs ?? 60_000;
    const burst = options.burst ?? options.limit;
    for (const [name, value] of Object.entries({ limit: options.limit, periodMs, burst })) {
      if (Number.isFinite(value) && value > 0 && (name === 'periodMs' || Number.isInteger(value))) continue;
      throw new SecurityError('INVALID_ARGUMENT', `cannot make a rate limiter: ${name} is ${value}`, {
        hint: 'limit and burst are whole numbers from 1, periodMs is above 0',
      });
    }
    if ((options.limit / periodMs) * 1_000 > MAX_PER_SECOND) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        'cannot make a rate limiter for over a million requests a second',
      );
    }
    this.#clock = options.clock ?? systemClock;
    this.#burst = burst;
    // Rounded up: never more than the limit.
    this.#intervalMicros = Math.ceil((periodMs * MICROS_PER_MS) / options.limit);
    this.#toleranceMicros = this.#intervalMicros * burst;
    this.#maxClients = options.maxClients ?? DEFAULT_MAX_CLIENTS;
    this.#sweep = this.#arrivals.entries();
  }

  /** Clients remembered at present. */
  get size(): number {
    return this.#arrivals.size;
  }

  /**
   * Takes `cost` requests (whole, 0 or more, default 1) from the client's allowance when they are there. Cost 0 only
   * looks. A refused request takes nothing.
   */
  check(client: string, cost = 1): RateLimitDecision {
    if (!Number.isInteger(cost) || cost < 0 || client.startsWith('\0')) {
      throw new SecurityError(
        'INVALID_ARGUMENT',
        `cannot check a rate limit: cost ${cost} or the client's name is invalid`,
      );
    }
    const now = Math.floor(this.#clock.monotonicMs() * MICROS_PER_MS);
    this.#forgetIdle(now);
    const key =
      this.#arrivals.has(client) || this.#arrivals.size < this.#maxClients ? client : OVERFLOW_CLIENT;
    const arrival = Math.max(now, this.#arrivals.get(key) ?? now);
    const newArrival = arrival + cost * this.#intervalMicros;
    const allowAt = newArrival - this.#toleranceMicros;
    if (now < allowAt) {
      const never = cost > this.#burst;
      return this.#answer(
        false,
        arrival - now,
        never ? Number.POSITIVE_INFINITY : (allowAt - now) / MICROS_PER_MS,
      );
    }
    if (cost > 0) this.#arrivals.set(key, newArrival);
    return this.#answer(true, newArrival - now, 0);
  }

  /** Gives back `cost` requests that turned out not to count (such as a login that succeeded). */
  refund(client: string, cost = 1): void {
    const arrival = this.#arrivals.get(client);
    if (arrival !== undefined) this.#arrivals.set(client, arrival - cost * this.#intervalMicros);
  }

  /** Forgets what the client has used. */
  reset(client: string): void {
    this.#arrivals.delete(client);
  }

  #answer(allowed: boolean, debtMicros: number, retryAfterMs: number): RateLimitDecision {
    return {
      allowed,
      limit: this.#burst,
      remaining: Math.max(0, Math.floor((this.#toleranceMicros - debtMicros) / this.#intervalMicros)),
      retryAfterMs,
      resetAfterMs: debtMicros / MICROS_PER_MS,
    };
  }

  #forgetIdle(now: number): void {
    for (let looked = 0; looked < SWEEP_PER_CALL; looked += 1) {
      const next = this.#sweep.next();
      if (next.done) {
        this.#sweep = this.#arrivals.entries();
        return;
      }
      const [client, arrival] = next.value;
      if (arrival <= now) this.#arrivals.delete(client);
    }
  }
}

/** The answer as HTTP headers (draft-ietf-httpapi-ratelimit-headers, and `Retry-After` of RFC 9110), whole seconds rounded up. */
export function rateLimitHeaders(decision: RateLimitDecision): Record<string, string> {
  const seconds = (ms: number): number => Math.ceil(ms / 1_000);
  const reset = seconds(decision.resetAfterMs);
  return {
    RateLimit: `"default";r=${decision.remaining};t=${reset}`,
    'RateLimit-Policy': `"default";q=${decision.limit}`,
    ...(decision.allowed || !Number.isFinite(decision.retryAfterMs)
      ? {}
      : { 'Retry-After': String(Math.max(1, seconds(decision.retryAfterMs))) }),
  };
}
