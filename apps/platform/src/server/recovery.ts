// Disaster recovery as this platform can tell of it: its centres, and how likely a failover is soon.

import type { CenterResource, Clock, Resources } from '@heptad/core';
import { FailoverPredictor, type HealthSample, type Prediction } from '@heptad/dr';

/** What `GET /api/v1/dr/status` answers. */
export interface RecoveryStatus {
  readonly centers: readonly CenterResource[];
  readonly prediction: Prediction | undefined;
  readonly message: string;
}

/** Looks once at the platform as its clients see it; undefined when there was no traffic to look at. */
export type HealthProbe = () => Promise<Omit<HealthSample, 'at'> | undefined>;

/** The predictor's window is made of samples this far apart. */
const SAMPLE_INTERVAL_MS = 2_000;

/** Centres and prediction. */
export class RecoveryService implements AsyncDisposable {
  readonly #centers: Resources<'Center'>;
  readonly #clock: Clock;
  readonly #predictor = new FailoverPredictor();
  readonly #stop = new AbortController();
  readonly #sampling: Promise<void>;
  #prediction: Prediction | undefined;

  constructor(centers: Resources<'Center'>, look: HealthProbe, clock: Clock) {
    this.#centers = centers;
    this.#clock = clock;
    this.#sampling = this.#sample(look);
  }

  async #sample(look: HealthProbe): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const seen = await look().catch(() => undefined);
      if (seen !== undefined) this.#prediction = this.#predictor.observe({ at: this.#clock.now(), ...seen });
      await this.#clock.sleep(SAMPLE_INTERVAL_MS, this.#stop.signal).catch(() => {});
    }
  }

  /** The centres as they are known here. */
  async status(): Promise<RecoveryStatus> {
    const { items } = await this.#centers.list();
    const backups = items.filter((center) => center.status.role === 'backup').length;
    const place =
      items.length === 0
        ? 'this platform is a single centre: nothing can take over from it'
        : `${items.length} centres, ${backups} of them backups`;
    const prediction = this.#prediction;
    return {
      centers: items,
      prediction,
      message: prediction === undefined ? place : `${place}; ${prediction.because}`,
    };
  }

  /** Who could be promoted, as sentences. */
  async explain(): Promise<string[]> {
    const { items } = await this.#centers.list();
    if (items.length > 0)
      return items.map(
        ({ name, status }) => `${name}: ${status.role}, generation ${status.generation}. ${status.message}`,
      );
    return [
      'No centre but this one is known, so nobody can be promoted.',
      'The guide "Disaster recovery" shows how to run a primary with two backup centres.',
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#sampling;
  }
}
