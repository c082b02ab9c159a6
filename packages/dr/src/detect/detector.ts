// FailureDetector: phi accrual over the heartbeats of one peer, deaf to silences that were our own.

import { HeptadError } from '@heptad/core';
import { type PhiSettings, phi } from './phi.ts';

/** How to detect. Times in milliseconds; every time given to a detector is of one monotonic clock. */
export interface FailureDetectorOptions extends Partial<PhiSettings> {
  /** Expected time between heartbeats. Default 250. Seeds the history with it and a quarter of it as deviation. */
  readonly heartbeatMs?: number;
  /** Suspect at this phi. Default 8. */
  readonly threshold?: number;
  /** Intervals remembered. Default 1000. */
  readonly maxSamples?: number;
  /** When our own loop stalls longer than this, nobody is suspected for it. Default: four heartbeats. */
  readonly localPauseMs?: number;
}

/** What a detector thinks of its peer. */
export interface Suspicion {
  /** 0: just heard; 8: one wrong suspicion in 10^8. */
  readonly phi: number;
  readonly suspected: boolean;
  /** Since the last heartbeat; undefined before the first. */
  readonly silenceMs: number | undefined;
  /** A sentence for people. */
  readonly because: string;
}

/**
 * Watches the heartbeats of one peer. Pure over its inputs: it reads no clock.
 *
 * Call {@link tick} regularly (each own heartbeat): a gap between ticks means that *we* stood still, and that the peer's
 * heartbeats may wait unread; the peer is then given the time of the gap again (as Cassandra's local-pause guard does).
 *
 * @example
 * ```ts
 * import { FailureDetector } from '@heptad/dr';
 *
 * const detector = new FailureDetector({ heartbeatMs: 250, acceptablePauseMs: 1000 });
 * for (let now = 0; now <= 5000; now += 250) {
 *   detector.tick(now);
 *   detector.heartbeat(now);
 * }
 * console.log(detector.suspicion(5250).suspected, detector.suspicion(8000).suspected);
 * ```
 */
export class FailureDetector {
  readonly #heartbeatMs: number;
  readonly #settings: PhiSettings;
  readonly #threshold: number;
  readonly #maxSamples: number;
  readonly #localPauseMs: number;
  #intervals: number[] = [];
  #lastMs: number | undefined;
  #lastTickMs: number | undefined;
  #excusedMs = 0;

  constructor(options: FailureDetectorOptions = {}) {
    this.#heartbeatMs = options.heartbeatMs ?? 250;
    this.#settings = {
      acceptablePauseMs: options.acceptablePauseMs ?? 4 * this.#heartbeatMs,
      minStdDeviationMs: options.minStdDeviationMs ?? 50,
    };
    this.#threshold = options.threshold ?? 8;
    this.#maxSamples = options.maxSamples ?? 1000;
    this.#localPauseMs = options.localPauseMs ?? 4 * this.#heartbeatMs;
    const figures = [this.#heartbeatMs, this.#settings.minStdDeviationMs, this.#threshold, this.#maxSamples];
    if (figures.some((figure) => !(figure > 0))) {
      throw new HeptadError(
        'INVALID_ARGUMENT',
        'cannot detect failures: every setting must be greater than 0',
      );
    }
    this.#seed();
  }

  // Mean ± mean/4 from the start: with an empty history the first interval would decide alone.
  #seed(): void {
    this.#intervals = [this.#heartbeatMs * 0.75, this.#heartbeatMs * 1.25];
  }

  /** Takes in a heartbeat. */
  heartbeat(nowMs: number): void {
    if (this.#lastMs !== undefined) {
      const interval = nowMs - this.#lastMs - this.#excusedMs;
      // What came after a failure says nothing about how regular a healthy peer is.
      if (interval > 0 && interval < this.#settings.acceptablePauseMs + 10 * this.#heartbeatMs) {
        this.#intervals.push(interval);
        if (this.#intervals.length > this.#maxSamples) this.#intervals.shift();
      }
    }
    this.#lastMs = nowMs;
    this.#excusedMs = 0;
  }

  /** Says that we are alive ourselves. */
  tick(nowMs: number): void {
    const gap = this.#lastTickMs === undefined ? 0 : nowMs - this.#lastTickMs;
    if (gap > this.#localPauseMs && this.#lastMs !== undefined) this.#excusedMs += gap;
    this.#lastTickMs = nowMs;
  }

  /** The peer started anew: its past says nothing any more. */
  reset(): void {
    this.#seed();
    this.#lastMs = undefined;
    this.#excusedMs = 0;
  }

  /** What to think of the peer now. Before the first heartbeat nobody is suspected. */
  suspicion(nowMs: number): Suspicion {
    if (this.#lastMs === undefined) {
      return { phi: 0, suspected: false, silenceMs: undefined, because: 'no heartbeat yet' };
    }
    const silenceMs = Math.max(0, nowMs - this.#lastMs);
    const stalled = this.#lastTickMs !== undefined && nowMs - this.#lastTickMs > this.#localPauseMs;
    const countedMs = Math.max(0, silenceMs - this.#excusedMs);
    const meanMs = this.#intervals.reduce((sum, value) => sum + value, 0) / this.#intervals.length;
    const variance =
      this.#intervals.reduce((sum, value) => sum + (value - meanMs) ** 2, 0) / this.#intervals.length;
    const value = phi(countedMs, { meanMs, deviationMs: Math.sqrt(variance) }, this.#settings);
    const suspected = value >= this.#threshold && !stalled;
    const silence = `silent for ${Math.round(silenceMs)} ms, usual interval ${Math.round(meanMs)} ms, phi ${value.toFixed(1)}`;
    const excuse =
      this.#excusedMs > 0 ? ` (${Math.round(this.#excusedMs)} ms of it we stood still ourselves)` : '';
    return { phi: value, suspected, silenceMs, because: `${silence}${excuse}` };
  }
}
