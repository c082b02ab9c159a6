// How likely a failure is soon: looks at the platform as its clients see it every two seconds.

import type { Clock } from '@heptad/core';
import type { HealthSample, Prediction } from '@heptad/dr';

/** Looks once; undefined when there was no traffic to look at. */
export type HealthProbe = () => Promise<Omit<HealthSample, 'at'> | undefined>;

/** The predictor's window is made of samples this far apart. */
const SAMPLE_INTERVAL_MS = 2_000;

/** Feeds a predictor until it is disposed of. */
export class HealthSampler implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #sampling: Promise<void>;
  #prediction: Prediction | undefined;

  constructor(look: HealthProbe, observe: (sample: HealthSample) => Prediction, clock: Clock) {
    this.#clock = clock;
    this.#sampling = this.#sample(look, observe);
  }

  /** The latest prediction. */
  get prediction(): Prediction | undefined {
    return this.#prediction;
  }

  async #sample(look: HealthProbe, observe: (sample: HealthSample) => Prediction): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const seen = await look().catch(() => undefined);
      if (seen !== undefined) this.#prediction = observe({ at: this.#clock.now(), ...seen });
      await this.#clock.sleep(SAMPLE_INTERVAL_MS, this.#stop.signal).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#sampling;
  }
}
