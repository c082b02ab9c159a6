// What a run works with, and its rhythm.

import type { Clock, Random } from '@heptad/core';
import type { Experiment } from './experiment.ts';
import type { ChaosJournal } from './journal.ts';
import type { TimelineEntry } from './report.ts';
import type { Injector, MetricReader, Probe, TargetResolver } from './types.ts';

/** Everything a run needs. Times in milliseconds. */
export interface RunContext {
  readonly id: string;
  readonly experiment: Experiment;
  readonly targets: TargetResolver;
  readonly injectors: ReadonlyMap<string, Injector>;
  readonly probe: Probe;
  readonly metrics?: MetricReader;
  readonly journal: ChaosJournal;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly onProgress: (entry: TimelineEntry) => void;
  readonly timing: RunTiming;
}

/** The rhythm of a run, milliseconds. */
export interface RunTiming {
  /** Between two looks of the probe. Default 200. */
  readonly probeIntervalMs: number;
  /** A look that takes longer has failed. Default 5000. */
  readonly probeTimeoutMs: number;
  /** Between two observations of a fault, and two readings of a metric. Default 1000. */
  readonly observeIntervalMs: number;
  /** A fault ends by itself this long after its controller's last sign of life. Default 10000. */
  readonly faultTtlMs: number;
  /** How long the steady state is watched before. Default 2000. */
  readonly steadyMs: number;
  /** How long the system may take to be steady again. Default 30000. */
  readonly settleMs: number;
}
