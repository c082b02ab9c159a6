// One experiment from its steady state before to its verdict. Whatever happens in between, every fault is taken back.

import { type Clock, errorMessage, HeptadError, type Random } from '@heptad/core';
import type { Experiment, ExperimentMetric, Scenario } from './experiment.ts';
import type { ChaosJournal } from './journal.ts';
import { ProbeLoop, probeSource, summarise } from './probe-loop.ts';
import type { ExperimentReport, MetricOutcome, Phase, ScenarioOutcome, TimelineEntry } from './report.ts';
import type {
  ActiveFault,
  FaultRecord,
  InjectionRequest,
  Injector,
  MetricReader,
  Probe,
  TargetResolver,
} from './types.ts';
import { judge, judgeMetric } from './verdict.ts';

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

/** Looks in a row that must succeed for the system to count as steady. */
const STEADY_LOOKS = 5;
/** Renewals per ttl: two may get lost. */
const RENEWALS_PER_TTL = 3;

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
  readonly #readings = new Map<string, { before: number; during: number[]; after: number }>();
  #lastReadMs = 0;

  constructor(context: RunContext) {
    this.#context = context;
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
        for (const scenario of experiment.scenarios) await this.#scenario(scenario);
        await this.#lookEnough();
        this.#loop.phase = 'after';
        steadyAfter = await this.#steadyAfter();
        await this.#readMetrics('after');
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
    await this.#readMetrics('before');
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

  async #scenario(scenario: Scenario): Promise<void> {
    const { targets, injectors, clock, random, timing, signal, id, journal } = this.#context;
    const injector = injectors.get(scenario.type);
    if (injector === undefined) {
      throw new HeptadError(
        'NOT_SUPPORTED',
        `cannot inject ${scenario.type}: this controller has no injector for it`,
      );
    }
    const target = await targets.resolve(scenario.target, signal);
    const request: InjectionRequest = {
      faultId: random.uuid(clock.now()),
      target,
      params: { ...scenario.params },
      ttlMs: timing.faultTtlMs,
      resolve: (within) => targets.resolve(scenario.target, within),
      clock,
      signal,
      onEvent: (message) => this.#note('fault', message),
    };
    const record: FaultRecord = {
      id: request.faultId,
      experimentId: id,
      type: scenario.type,
      target: scenario.target,
      instances: target.instances,
      expiresAt: clock.now() + timing.faultTtlMs,
      data: await injector.plan(request),
    };
    await journal.addFault(record);
    await this.#hold(scenario, injector, request, record);
  }

  async #hold(
    scenario: Scenario,
    injector: Injector,
    request: InjectionRequest,
    record: FaultRecord,
  ): Promise<void> {
    const { clock, signal, journal } = this.#context;
    const startedAtMs = this.#elapsed();
    let fault: ActiveFault | undefined;
    let interrupted: unknown;
    try {
      this.#note(
        'fault',
        `injecting ${scenario.type} into ${scenario.target} (${record.instances.length} instances)`,
      );
      fault = await injector.inject(request);
      await this.#window(scenario, fault, record);
    } catch (error) {
      interrupted = error;
    }
    // From here on nothing may be skipped, aborted or not: the fault must go.
    const removal = await attempt(async () => {
      if (fault === undefined) await injector.undo(record);
      else await fault.remove();
      await journal.removeFault(record.id);
    });
    this.#note('fault', removal.ok ? `${scenario.type} on ${scenario.target} taken back` : removal.problem);
    const recovery =
      fault === undefined || signal.aborted || !removal.ok
        ? { ok: false, problem: errorMessage(interrupted ?? 'not observed') }
        : await attempt(() => fault.recovered(signal));
    const problem = removal.ok ? (recovery.ok ? undefined : recovery.problem) : removal.problem;
    this.#outcomes.push({
      type: scenario.type,
      target: scenario.target,
      params: { ...scenario.params },
      faultId: record.id,
      startedAtMs,
      endedAtMs: this.#elapsed(),
      proof: fault?.proof() ?? { proven: false, because: errorMessage(interrupted), evidence: {} },
      removed: removal.ok,
      recovered: recovery.ok,
      ...(problem === undefined ? {} : { problem }),
    });
    // An injection that failed ends this scenario, not the experiment: its verdict is "unproven" anyway.
    if (signal.aborted) throw signal.reason;
    if (interrupted !== undefined) this.#note('problem', errorMessage(interrupted));
    await clock.sleep(0);
  }

  async #window(scenario: Scenario, fault: ActiveFault, record: FaultRecord): Promise<void> {
    const { clock, signal, journal, timing } = this.#context;
    const endMs = clock.monotonicMs() + scenario.params.durationMs;
    const stepMs = Math.min(timing.observeIntervalMs, timing.faultTtlMs / RENEWALS_PER_TTL);
    let renewedMs = clock.monotonicMs();
    do {
      await fault.observe(signal);
      await this.#readMetrics('during');
      if (clock.monotonicMs() - renewedMs >= timing.faultTtlMs / RENEWALS_PER_TTL) {
        renewedMs = clock.monotonicMs();
        if (!(await journal.renewFault(record.id, clock.now() + timing.faultTtlMs))) {
          throw new HeptadError(
            'FAULT_REVOKED',
            `somebody else took back ${record.type} on ${record.target}`,
          );
        }
        await fault.renew();
      }
      const leftMs = endMs - clock.monotonicMs();
      if (leftMs > 0) await clock.sleep(Math.min(stepMs, leftMs), signal);
    } while (clock.monotonicMs() < endMs);
  }

  async #readMetrics(phase: Phase): Promise<void> {
    const { experiment, metrics, clock, signal, timing } = this.#context;
    const nowMs = clock.monotonicMs();
    if (phase === 'during' && nowMs - this.#lastReadMs < timing.observeIntervalMs) return;
    this.#lastReadMs = nowMs;
    for (const metric of experiment.metrics) {
      if (probeSource(metric.source) !== undefined) continue;
      const value = await this.#read(metric, metrics, signal);
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

  async #read(
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
      this.#note('metric', `${metric.name} could not be read: ${errorMessage(error)}`);
      return Number.NaN;
    }
  }

  #metricOutcomes(): MetricOutcome[] {
    const { samples } = this.#loop;
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
    const metrics = steady.steadyBefore ? this.#metricOutcomes() : [];
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

  #elapsed(): number {
    return this.#context.clock.monotonicMs() - this.#startMs;
  }

  #note(kind: TimelineEntry['kind'], message: string): void {
    const entry = { atMs: this.#elapsed(), kind, message };
    this.#timeline.push(entry);
    this.#context.onProgress(entry);
  }
}

async function attempt(
  action: () => Promise<void>,
): Promise<{ readonly ok: true } | { readonly ok: false; readonly problem: string }> {
  try {
    await action();
    return { ok: true };
  } catch (error) {
    return { ok: false, problem: errorMessage(error) };
  }
}
