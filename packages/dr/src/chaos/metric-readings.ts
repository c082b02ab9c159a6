// The readings of an experiment's metrics: before, during and after the faults.

import { errorMessage, HeptadError } from '@heptad/core';
import type { ExperimentMetric } from './experiment.ts';
import { probeSource, summarise } from './probe-loop.ts';
import type { MetricOutcome, Phase, ProbeSample } from './report.ts';
import type { RunContext } from './run-context.ts';
import type { MetricReader } from './types.ts';
import { judgeMetric } from './verdict.ts';

/** Gathers the readings of one run. */
export class MetricReadings {
  readonly #context: RunContext;
  /** Says what could not be read, and why. */
  readonly #note: (message: string) => void;
  readonly #readings = new Map<string, { before: number; during: number[]; after: number }>();
  #lastReadMs = 0;

  constructor(context: RunContext, note: (message: string) => void) {
    this.#context = context;
    this.#note = note;
  }

  /** Reads all metrics that the probe does not measure; during the faults no more often than the timing says. */
  async read(phase: Phase): Promise<void> {
    const { experiment, metrics, clock, signal, timing } = this.#context;
    const nowMs = clock.monotonicMs();
    if (phase === 'during' && nowMs - this.#lastReadMs < timing.observeIntervalMs) return;
    this.#lastReadMs = nowMs;
    for (const metric of experiment.metrics) {
      if (probeSource(metric.source) !== undefined) continue;
      const value = await this.#value(metric, metrics, signal);
      const readings = this.#readings.get(metric.name) ?? {
        before: Number.NaN,
        during: [],
        after: Number.NaN,
      };
      if (phase === 'during') readings.during.push(value);
      else readings[phase] = value;
      this.#readings.set(metric.name, readings);
    }
  }

  async #value(
    metric: ExperimentMetric,
    reader: MetricReader | undefined,
    signal: AbortSignal,
  ): Promise<number> {
    if (reader === undefined) {
      throw new HeptadError(
        'NOT_SUPPORTED',
        `cannot read metric ${metric.name}: no reader for source ${metric.source}`,
        {
          hint: 'use a probe: source, or give the controller a metric reader',
        },
      );
    }
    try {
      return await reader.read(metric.source, signal);
    } catch (error) {
      this.#note(`${metric.name} could not be read: ${errorMessage(error)}`);
      return Number.NaN;
    }
  }

  /** Judges every metric by its threshold. */
  outcomes(samples: readonly ProbeSample[]): MetricOutcome[] {
    return this.#context.experiment.metrics.map((metric) => {
      const figure = probeSource(metric.source);
      const readings =
        figure === undefined
          ? (this.#readings.get(metric.name) ?? { before: Number.NaN, during: [], after: Number.NaN })
          : {
              before: figure(summarise(samples, 'before')),
              during: [figure(summarise(samples, 'during'))],
              after: figure(summarise(samples, 'after')),
            };
      return judgeMetric(metric, readings);
    });
  }
}
