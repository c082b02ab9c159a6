// PeakEwmaBalancer: whoever answers soonest, judged by the recent peaks of its latency.

import { type Clock, invalidArgument, type Random, systemClock, systemRandom } from '@heptad/core';
import type { Balancer, BalanceTarget } from './balancer.ts';
import { twoChoices } from './two-choices.ts';

/** How {@link PeakEwmaBalancer} remembers. */
export interface PeakEwmaOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** How fast a peak is forgotten. Default 10 s, at least 1 ms. */
  readonly decayMs?: number;
  /** Assumed of a target never tried. Default 30 ms (linkerd). */
  readonly defaultMs?: number;
  /** A failure counts as this slow: else whoever fails fastest attracts all traffic. Default 5 s (linkerd). */
  readonly failurePenaltyMs?: number;
}

interface Latency {
  valueMs: number;
  at: number;
}

/**
 * Cost = peak-sensitive moving average of the latency x (in flight + 1) / weight; two random targets are compared.
 * Reading projects the decay without changing anything; a slower answer is believed at once, a faster one gradually.
 *
 * Source: Finagle and linkerd2-proxy Peak EWMA, with linkerd's penalised failures.
 *
 * @example
 * ```ts
 * import { PeakEwmaBalancer } from '@heptad/mesh';
 *
 * const balancer = new PeakEwmaBalancer();
 * const [slow, fast] = [{ id: 's', weight: 1, inFlight: 0 }, { id: 'f', weight: 1, inFlight: 0 }];
 * balancer.observe(slow, 400, false);
 * balancer.observe(fast, 5, false);
 * console.log(balancer.pick([slow, fast])?.id); // f
 * ```
 */
export class PeakEwmaBalancer implements Balancer {
  readonly name = 'peak-ewma';
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #decayMs: number;
  readonly #defaultMs: number;
  readonly #penaltyMs: number;
  readonly #latencies = new WeakMap<BalanceTarget, Latency>();

  constructor(options: PeakEwmaOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#decayMs = options.decayMs ?? 10_000;
    this.#defaultMs = options.defaultMs ?? 30;
    this.#penaltyMs = options.failurePenaltyMs ?? 5_000;
    if (!(this.#decayMs >= 1)) throw invalidArgument(`decayMs must be at least 1, got ${this.#decayMs}`);
  }

  pick<T extends BalanceTarget>(targets: readonly T[]): T | undefined {
    const now = this.#clock.monotonicMs();
    return twoChoices(
      targets,
      this.#random,
      (target) => (this.#latency(target, now) * (target.inFlight + 1)) / target.weight,
    );
  }

  observe(target: BalanceTarget, durationMs: number, failed: boolean): void {
    const now = this.#clock.monotonicMs();
    const sample = failed ? Math.max(durationMs, this.#penaltyMs) : durationMs;
    const latency = this.#latencies.get(target);
    if (latency === undefined) {
      this.#latencies.set(target, { valueMs: sample, at: now });
      return;
    }
    if (sample > latency.valueMs) latency.valueMs = sample;
    else {
      const weight = Math.exp(-(now - latency.at) / this.#decayMs);
      latency.valueMs = latency.valueMs * weight + sample * (1 - weight);
    }
    latency.at = now;
  }

  #latency(target: BalanceTarget, now: number): number {
    const latency = this.#latencies.get(target);
    if (latency === undefined) return this.#defaultMs;
    return latency.valueMs * Math.exp(-(now - latency.at) / this.#decayMs);
  }
}
