// Looking at the system from the user's side, again and again, and summing up what was seen. Open loop: a slow answer does
// not make the next look later, so that an outage is not under-sampled.

import { type Clock, errorMessage } from '@heptad/core';
import type { Phase, ProbeSample, ProbeSummary } from './report.ts';
import type { Probe } from './types.ts';

/** Looks that may be under way at once; beyond it a look is counted as failed without being made. */
export const PROBE_MAX_PENDING = 64;
/** Samples kept: at five a second this is more than an hour. */
export const PROBE_MAX_SAMPLES = 20_000;

/** How to look. */
export interface ProbeLoopOptions {
  readonly probe: Probe;
  readonly clock: Clock;
  /** Time between two looks. */
  readonly intervalMs: number;
  /** A look that takes longer has failed. */
  readonly timeoutMs: number;
  readonly startMs: number;
}

/** Runs until stopped. */
export class ProbeLoop {
  readonly samples: ProbeSample[] = [];
  phase: Phase = 'before';
  readonly #options: ProbeLoopOptions;
  readonly #stop = new AbortController();
  readonly #pending = new Set<Promise<void>>();

  constructor(options: ProbeLoopOptions) {
    this.#options = options;
  }

  start(): void {
    const timer = this.#options.clock.interval(this.#options.intervalMs, () => this.#tick());
    this.#stop.signal.addEventListener('abort', () => timer.cancel());
    this.#tick();
  }

  /** Stops and waits for the looks under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#pending);
  }

  /** Looks once more, now. */
  async look(): Promise<ProbeSample> {
    const { probe, clock, timeoutMs, startMs } = this.#options;
    const phase = this.phase;
    const began = clock.monotonicMs();
    const timeout = new AbortController();
    let timedOut: () => void = () => {};
    const late = new Promise<{ ok: boolean; message: string }>((resolve) => {
      timedOut = () => resolve({ ok: false, message: `no answer within ${timeoutMs} ms` });
    });
    const timer = clock.timer(timeoutMs, () => {
      timedOut();
      timeout.abort();
    });
    const outcome = await Promise.race([
      Promise.resolve()
        .then(() => probe(timeout.signal))
        .catch((error: unknown) => ({ ok: false, message: errorMessage(error) })),
      late,
    ]);
    timer.cancel();
    const sample: ProbeSample = {
      atMs: began - startMs,
      phase,
      ok: outcome.ok,
      latencyMs: clock.monotonicMs() - began,
      ...(outcome.message === undefined ? {} : { message: outcome.message.slice(0, 300) }),
    };
    if (this.samples.length < PROBE_MAX_SAMPLES) this.samples.push(sample);
    return sample;
  }

  #tick(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#pending.size >= PROBE_MAX_PENDING) {
      const { clock, startMs, timeoutMs } = this.#options;
      const atMs = clock.monotonicMs() - startMs;
      const message = `${PROBE_MAX_PENDING} looks are still waiting for an answer`;
      if (this.samples.length < PROBE_MAX_SAMPLES) {
        this.samples.push({ atMs, phase: this.phase, ok: false, latencyMs: timeoutMs, message });
      }
      return;
    }
    const look: Promise<void> = this.look().then(() => {
      this.#pending.delete(look);
    });
    this.#pending.add(look);
  }
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)] ?? Number.NaN;
}

/** Sums up the samples of one phase. Pure. Latencies are those of successful looks. */
export function summarise(samples: readonly ProbeSample[], phase: Phase): ProbeSummary {
  const own = samples.filter((sample) => sample.phase === phase).sort((a, b) => a.atMs - b.atMs);
  const latencies = own.filter(({ ok }) => ok).map(({ latencyMs }) => latencyMs);
  latencies.sort((a, b) => a - b);
  let outageFrom: number | undefined;
  let longestOutageMs = 0;
  for (const sample of own) {
    if (sample.ok) outageFrom = undefined;
    else {
      outageFrom ??= sample.atMs;
      longestOutageMs = Math.max(longestOutageMs, sample.atMs + sample.latencyMs - outageFrom);
    }
  }
  const failures = own.filter(({ ok }) => !ok).length;
  return {
    samples: own.length,
    failures,
    errorRate: own.length === 0 ? Number.NaN : failures / own.length,
    latencyP50Ms: quantile(latencies, 0.5),
    latencyP99Ms: quantile(latencies, 0.99),
    longestOutageMs,
  };
}

/** Names of the figures the probe itself gives. */
export const PROBE_SOURCES = {
  'probe:error-rate': (summary: ProbeSummary): number => summary.errorRate,
  'probe:success-rate': (summary: ProbeSummary): number => 1 - summary.errorRate,
  'probe:latency-p50': (summary: ProbeSummary): number => summary.latencyP50Ms,
  'probe:latency-p99': (summary: ProbeSummary): number => summary.latencyP99Ms,
  'probe:longest-outage': (summary: ProbeSummary): number => summary.longestOutageMs,
} as const;

/** The function behind a `probe:` source. */
export function probeSource(source: string): ((summary: ProbeSummary) => number) | undefined {
  return Object.entries(PROBE_SOURCES).find(([name]) => name === source)?.[1];
}
