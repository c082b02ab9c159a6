// One experiment from its steady state before to its verdict. Whatever happens in between, every fault is taken back.

import { errorMessage } from '@heptad/core';
import { type FaultRun, holdFault } from './hold-fault.ts';
import { MetricReadings } from './metric-readings.ts';
import { ProbeLoop, summarise } from './probe-loop.ts';
import type { ExperimentReport, ScenarioOutcome, TimelineEntry } from './report.ts';
import type { RunContext } from './run-context.ts';
import { judge } from './verdict.ts';

/** Looks in a row that must succeed for the system to count as steady. */
const STEADY_LOOKS = 5;

/** Runs one experiment. Does not reject: what goes wrong is in the report. */
export async function runExperiment(context: RunContext): Promise<ExperimentReport> {
  return new Run(context).execute();
}

class Run {
  readonly #context: RunContext;
  readonly #startMs: number;
  readonly #startedAt: number;
  readonly #timeline: TimelineEntry[] = [];
  readonly #loop: ProbeLoop;
  readonly #outcomes: ScenarioOutcome[] = [];
  readonly #metrics: MetricReadings;

  constructor(context: RunContext) {
    this.#context = context;
    this.#metrics = new MetricReadings(context, (message) => this.#note('metric', message));
    const { clock, probe, timing } = context;
    this.#startMs = clock.monotonicMs();
    this.#startedAt = clock.now();
    this.#loop = new ProbeLoop({
      probe,
      clock,
      intervalMs: timing.probeIntervalMs,
      timeoutMs: timing.probeTimeoutMs,
      startMs: this.#startMs,
    });
  }

  async execute(): Promise<ExperimentReport> {
    const { experiment, signal } = this.#context;
    let status: ExperimentReport['status'] = 'completed';
    let steadyBefore = false;
    let steadyAfter = false;
    let problem: string | undefined;
    try {
      this.#note('phase', `experiment "${experiment.name}" begins; watching the steady state`);
      this.#loop.start();
      steadyBefore = await this.#steadyBefore();
      if (steadyBefore) {
        this.#loop.phase = 'during';
        for (const scenario of experiment.scenarios) await holdFault(this.#faultRun(), scenario);
        await this.#lookEnough();
        this.#loop.phase = 'after';
        steadyAfter = await this.#steadyAfter();
        await this.#metrics.read('after');
      }
    } catch (error) {
      status = signal.aborted ? 'aborted' : 'failed';
      problem = errorMessage(error);
      this.#note('problem', signal.aborted ? `aborted: ${problem}` : problem);
    }
    await this.#loop.stop();
    return this.#report(status, { steadyBefore, steadyAfter }, problem);
  }

  async #steadyBefore(): Promise<boolean> {
    const { clock, timing, signal } = this.#context;
    await clock.sleep(timing.steadyMs, signal);
    while (this.#loop.samples.length < STEADY_LOOKS) await clock.sleep(timing.probeIntervalMs, signal);
    await this.#metrics.read('before');
    const failed = this.#loop.samples.filter(({ ok }) => !ok);
    if (failed.length > 0) {
      const why = failed[0]?.message ?? 'no reason given';
      this.#note(
        'problem',
        `not steady: ${failed.length} of ${this.#loop.samples.length} looks failed: ${why}`,
      );
      return false;
    }
    this.#note('phase', `steady: ${this.#loop.samples.length} looks succeeded`);
    return true;
  }

  // A kill can be over sooner than the probe looks: without any look nothing could be said of the time of the fault.
  async #lookEnough(): Promise<void> {
    const { clock, timing, signal } = this.#context;
    while (this.#loop.samples.filter(({ phase }) => phase === 'during').length < STEADY_LOOKS) {
      await clock.sleep(timing.probeIntervalMs, signal);
    }
  }

  async #steadyAfter(): Promise<boolean> {
    const { clock, timing, signal } = this.#context;
    const deadlineMs = clock.monotonicMs() + timing.settleMs;
    while (clock.monotonicMs() < deadlineMs) {
      await clock.sleep(timing.probeIntervalMs, signal);
      const last = this.#loop.samples.filter(({ phase }) => phase === 'after').slice(-STEADY_LOOKS);
      if (last.length === STEADY_LOOKS && last.every(({ ok }) => ok)) {
        this.#note('phase', 'steady again');
        return true;
      }
    }
    this.#note('problem', `not steady again within ${timing.settleMs} ms`);
    return false;
  }

  #report(
    status: ExperimentReport['status'],
    steady: { steadyBefore: boolean; steadyAfter: boolean },
    problem: string | undefined,
  ): ExperimentReport {
    const { samples } = this.#loop;
    const probe = {
      before: summarise(samples, 'before'),
      during: summarise(samples, 'during'),
      after: summarise(samples, 'after'),
    };
    const metrics = steady.steadyBefore ? this.#metrics.outcomes(samples) : [];
    const findings = { ...steady, scenarios: this.#outcomes, metrics, during: probe.during };
    const stuck = this.#outcomes.some(({ removed }) => !removed);
    const verdict =
      status === 'completed' || stuck
        ? judge(findings)
        : {
            verdict: 'unproven' as const,
            because: `it did not run to its end: ${problem}`,
            score: null,
            scoreParts: [],
          };
    this.#note('phase', `${status}; ${verdict.verdict}: ${verdict.because}`);
    return {
      format: 'heptad-chaos-report/1',
      id: this.#context.id,
      name: this.#context.experiment.name,
      startedAt: new Date(this.#startedAt).toISOString(),
      durationMs: this.#elapsed(),
      status,
      ...verdict,
      scenarios: this.#outcomes,
      metrics,
      probe,
      timeline: this.#timeline,
      samples: [...samples].sort((a, b) => a.atMs - b.atMs),
    };
  }

  #faultRun(): FaultRun {
    return {
      context: this.#context,
      note: (kind, message) => this.#note(kind, message),
      elapsed: () => this.#elapsed(),
      readMetrics: () => this.#metrics.read('during'),
      onOutcome: (outcome) => void this.#outcomes.push(outcome),
    };
  }

  #elapsed(): number {
    return this.#context.clock.monotonicMs() - this.#startMs;
  }

  #note(kind: TimelineEntry['kind'], message: string): void {
    const entry = { atMs: this.#elapsed(), kind, message };
    this.#timeline.push(entry);
    this.#context.onProgress(entry);
  }
}
