// What a failure predictor sees: a short window of health samples of a centre, boiled down to eleven numbers.

/** One observation of a centre, as its clients see it. */
export interface HealthSample {
  /** When, milliseconds (any clock, as long as it is one clock). */
  readonly at: number;
  /** p99 latency of requests since the last sample, milliseconds. */
  readonly latencyMs: number;
  /** Utilisation of the busiest resource, 0..1 (may exceed 1 when work queues up). */
  readonly load: number;
  /** Failed requests over all requests since the last sample, 0..1. */
  readonly errorRate: number;
}

/** Samples that make a window: 30 samples of 2 s are the last minute. */
export const WINDOW_SAMPLES = 30;
/** With fewer samples there is no slope to speak of; the predictor says so instead of guessing. */
export const MIN_SAMPLES = 5;

/** Names of the features, in the order of the model's weights. */
export const FEATURE_NAMES = [
  'latencyLog',
  'latencyRatio',
  'latencySlope',
  'latencyJitter',
  'load',
  'loadSlope',
  'loadOver80',
  'errorLog',
  'errorSlope',
  'errorPersistence',
  'loadTimesError',
] as const;

// Samples of the window's end that count as "now": one noisy sample must not decide.
const RECENT = 5;
// An error rate under one in ten thousand is noise at the request counts of a small system.
const ERROR_FLOOR = 1e-4;

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

// Least-squares slope per sample: a trend is robust where a difference of two samples is not.
function slope(values: readonly number[]): number {
  const centre = (values.length - 1) / 2;
  const average = mean(values);
  let above = 0;
  let below = 0;
  values.forEach((value, index) => {
    above += (index - centre) * (value - average);
    below += (index - centre) ** 2;
  });
  return below === 0 ? 0 : above / below;
}

function deviation(values: readonly number[]): number {
  const average = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - average) ** 2)));
}

/**
 * Features of a window, oldest sample first. Pure. Latencies and error rates enter as logarithms, because what
 * announces a failure is a factor, not a difference.
 */
export function featuresOf(window: readonly HealthSample[]): number[] {
  const samples = window.slice(-WINDOW_SAMPLES);
  const latencies = samples.map((sample) => Math.log10(Math.max(sample.latencyMs, 0.1)));
  const loads = samples.map((sample) => Math.min(Math.max(sample.load, 0), 2));
  const errors = samples.map((sample) => Math.log10(Math.max(sample.errorRate, ERROR_FLOOR)));
  const recentLoad = mean(loads.slice(-RECENT));
  const recentError = mean(errors.slice(-RECENT));
  const recentLatency = mean(latencies.slice(-RECENT));
  const older = latencies.slice(0, Math.max(1, Math.floor(latencies.length / 2)));
  return [
    recentLatency,
    recentLatency - median(older),
    slope(latencies) * WINDOW_SAMPLES,
    deviation(latencies.slice(-RECENT * 2)),
    recentLoad,
    slope(loads) * WINDOW_SAMPLES,
    Math.max(0, recentLoad - 0.8) * 5,
    recentError - Math.log10(ERROR_FLOOR),
    slope(errors) * WINDOW_SAMPLES,
    mean(samples.slice(-RECENT * 2).map((sample) => (sample.errorRate > 0.01 ? 1 : 0))),
    recentLoad * (recentError - Math.log10(ERROR_FLOOR)),
  ];
}
