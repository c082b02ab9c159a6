// FailoverPredictor: from latency, load and error rate to the probability that a centre is about to fail.

import { HeptadError, invalidArgument } from '@heptad/core';
import { z } from 'zod';
import { FEATURE_NAMES, featuresOf, type HealthSample, MIN_SAMPLES, WINDOW_SAMPLES } from './features.ts';
import { type LogisticModel, score } from './logistic.ts';
import committed from './model.json' with { type: 'json' };

/** Above this probability a planned switchover is cheaper than waiting for the failure. */
export const SWITCH_PROBABILITY = 0.8;
/** Consecutive predictions above the threshold before a switch is advised: one strange sample moves nothing. */
export const CONFIRMATIONS = 3;

const modelSchema = z.object({
  format: z.literal('heptad-failover-model/1'),
  features: z.array(z.string()),
  mean: z.array(z.number()),
  deviation: z.array(z.number().positive()),
  weights: z.array(z.number()),
  bias: z.number(),
  provenance: z.object({
    seed: z.number(),
    trainedOn: z.string(),
    heldOut: z.object({ precision: z.number(), recall: z.number(), brier: z.number() }).loose(),
  }),
});

/** A model file: weights, and how it was made and judged. */
export interface FailoverModel extends LogisticModel {
  readonly format: 'heptad-failover-model/1';
  readonly provenance: {
    readonly seed: number;
    readonly trainedOn: string;
    readonly heldOut: { readonly precision: number; readonly recall: number; readonly brier: number };
  };
}

/**
 * Checks a model that was read from somewhere. Error: `INVALID_MODEL` when it is not a model of this version's features.
 */
export function parseFailoverModel(value: unknown): FailoverModel {
  const parsed = modelSchema.safeParse(value);
  const hint = 'train one with packages/dr/tools/train-predictor.ts';
  if (!parsed.success) {
    throw new HeptadError('INVALID_MODEL', `cannot use failover model: ${z.prettifyError(parsed.error)}`, {
      hint,
    });
  }
  const model = parsed.data;
  const sameFeatures =
    model.features.length === FEATURE_NAMES.length &&
    FEATURE_NAMES.every((name, i) => model.features[i] === name);
  const lengths = [model.mean.length, model.deviation.length, model.weights.length];
  if (!sameFeatures || lengths.some((length) => length !== FEATURE_NAMES.length)) {
    throw new HeptadError(
      'INVALID_MODEL',
      `cannot use failover model: it was trained on the features ${model.features.join(', ')}, this version computes ${FEATURE_NAMES.join(', ')}`,
      { hint },
    );
  }
  return model;
}

/** What the predictor thinks. */
export interface Prediction {
  /** Probability that the centre fails within the next minute, 0..1; undefined with fewer than 5 samples. */
  readonly probability: number | undefined;
  /** Whether a planned switchover is advised: above the threshold for three predictions in a row. */
  readonly switchAdvised: boolean;
  /** The features that speak loudest, strongest first; positive: towards failure. */
  readonly reasons: readonly { readonly feature: string; readonly contribution: number }[];
  /** A sentence for people. */
  readonly because: string;
}

/** How to predict. */
export interface FailoverPredictorOptions {
  /** Default: the model committed with this package. */
  readonly model?: FailoverModel;
  /** Default 0.8. */
  readonly threshold?: number;
  /** Default 3. */
  readonly confirmations?: number;
}

/**
 * Watches one centre. Feed it a sample every two seconds; it keeps the last minute.
 *
 * It is trained on simulated incidents ({@link drawEpisode}): what it says of real ones is as good as the simulation is
 * like your system. Its advice is only ever a planned switchover, which loses nothing when it was wrong.
 *
 * @example
 * ```ts
 * import { FailoverPredictor } from '@heptad/dr';
 *
 * const predictor = new FailoverPredictor();
 * for (let i = 0; i < 40; i += 1) {
 *   const bad = Math.max(0, i - 15) / 25;
 *   predictor.observe({ at: i * 2000, latencyMs: 20 + 380 * bad, load: 0.5 + 0.5 * bad, errorRate: 0.2 * bad });
 * }
 * console.log(predictor.predict().because);
 * ```
 */
export class FailoverPredictor {
  readonly #model: FailoverModel;
  readonly #threshold: number;
  readonly #confirmations: number;
  readonly #window: HealthSample[] = [];
  #above = 0;
  #last: Prediction;

  constructor(options: FailoverPredictorOptions = {}) {
    this.#model = options.model ?? parseFailoverModel(committed);
    this.#threshold = options.threshold ?? SWITCH_PROBABILITY;
    this.#confirmations = options.confirmations ?? CONFIRMATIONS;
    if (!(this.#threshold > 0 && this.#threshold < 1)) {
      throw invalidArgument(`cannot predict with threshold ${this.#threshold}: it must lie between 0 and 1`);
    }
    this.#last = this.#compute();
  }

  /** Takes in one sample and predicts. Errors: `INVALID_ARGUMENT` for a sample that is not finite or goes back in time. */
  observe(sample: HealthSample): Prediction {
    const values = [sample.at, sample.latencyMs, sample.load, sample.errorRate];
    const last = this.#window.at(-1);
    if (values.some((value) => !Number.isFinite(value)) || (last !== undefined && sample.at < last.at)) {
      throw invalidArgument(
        `cannot take in health sample ${JSON.stringify(sample)}: every figure must be a finite number and time must not go back`,
      );
    }
    this.#window.push(sample);
    if (this.#window.length > WINDOW_SAMPLES) this.#window.shift();
    this.#last = this.#compute();
    return this.#last;
  }

  /** The latest prediction. */
  predict(): Prediction {
    return this.#last;
  }

  #compute(): Prediction {
    if (this.#window.length < MIN_SAMPLES) {
      return {
        probability: undefined,
        switchAdvised: false,
        reasons: [],
        because: `no prediction yet: ${this.#window.length} of at least ${MIN_SAMPLES} samples`,
      };
    }
    const { probability, contributions } = score(this.#model, featuresOf(this.#window));
    this.#above = probability > this.#threshold ? this.#above + 1 : 0;
    const reasons = contributions
      .map((contribution, index) => ({ feature: FEATURE_NAMES[index] ?? `feature ${index}`, contribution }))
      .sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution))
      .slice(0, 3);
    const switchAdvised = this.#above >= this.#confirmations;
    const percent = `${(probability * 100).toFixed(1)} %`;
    const limit = `${(this.#threshold * 100).toFixed(0)} %`;
    const why = reasons
      .map(
        ({ feature, contribution }) => `${feature} ${contribution >= 0 ? '+' : ''}${contribution.toFixed(2)}`,
      )
      .join(', ');
    const verdict = switchAdvised
      ? `above ${limit} ${this.#above} times in a row: switch over now`
      : this.#above > 0
        ? `above ${limit}, ${this.#above} of ${this.#confirmations} confirmations`
        : `not above ${limit}`;
    return {
      probability,
      switchAdvised,
      reasons,
      because: `failure within a minute: ${percent}, ${verdict} (${why})`,
    };
  }
}
