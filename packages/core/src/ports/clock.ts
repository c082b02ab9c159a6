// The port through which every part of Heptad learns the time and waits.

/** Milliseconds since 1970-01-01T00:00:00Z, whole numbers. Wall time: may jump; never measure a duration with it. */
export type Instant = number;

/** A running timer. */
export interface Timer {
  /** Stops it; a callback that has not begun will not run. Harmless when called twice. */
  cancel(): void;
}

/**
 * Time as a dependency. {@link systemClock} is the real one; `Simulation.clock` of `@heptad/core/sim` is virtual.
 */
export interface Clock {
  /** Wall time. */
  now(): Instant;
  /** A clock that never goes back and has no relation to wall time, in milliseconds (fractional). */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `callback` once after `ms`. A timer does not keep the process alive when `unref` is true. */
  timer(ms: number, callback: () => void, options?: { unref?: boolean }): Timer;
  /** Calls `callback` every `ms` until cancelled. */
  interval(ms: number, callback: () => void, options?: { unref?: boolean }): Timer;
}
