// ChaosController: runs experiments one at a time, takes back the faults of controllers that died, keeps the reports.

import {
  type Clock,
  errorMessage,
  HeptadError,
  invalidArgument,
  type Random,
  type StateStore,
  systemClock,
  systemRandom,
  type Timer,
} from '@heptad/core';
import { type Experiment, parseExperiment } from './experiment.ts';
import { type ChaosJournal, FileJournal, StoreJournal } from './journal.ts';
import { NetworkLatencyInjector } from './latency/injector.ts';
import { PodFailureInjector } from './pod-failure.ts';
import type { ExperimentReport, TimelineEntry } from './report.ts';
import { runExperiment } from './run.ts';
import type { RunTiming } from './run-context.ts';
import type { FaultRecord, Injector, MetricReader, Probe, TargetResolver } from './types.ts';

const DEFAULT_TIMING: RunTiming = {
  probeIntervalMs: 200,
  probeTimeoutMs: 5000,
  observeIntervalMs: 1000,
  faultTtlMs: 10_000,
  steadyMs: 2000,
  settleMs: 30_000,
};
/** How often faults of dead controllers are looked for. */
const REAP_INTERVAL_MS = 1000;
/** Shortest ttl: the kernel's own time-outs must outlast a busy machine's pauses. */
const MIN_FAULT_TTL_MS = 1000;

/** How to control chaos. */
export interface ChaosControllerOptions {
  readonly targets: TargetResolver;
  /** Default: `network-latency` and `pod-failure` on this machine. */
  readonly injectors?: readonly Injector[];
  /** The user's view of the system; judged before, during and after. */
  readonly probe: Probe;
  /** For metric sources that do not begin with `probe:`. */
  readonly metrics?: MetricReader;
  /** Where faults and reports are remembered; give this or `directory`. */
  readonly store?: StateStore;
  /** A directory for faults and reports, when there is no state store. */
  readonly directory?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** See {@link RunTiming} for each default. */
  readonly timing?: Partial<RunTiming>;
}

/** An experiment under way. */
export interface RunningExperiment {
  readonly id: string;
  readonly name: string;
  /** Resolves with the report; does not reject. */
  readonly done: Promise<ExperimentReport>;
}

/**
 * Runs chaos experiments. One at a time: with two at once nobody knows which fault did what.
 *
 * Every fault is written down before it is injected and carries an end that this controller pushes on while it lives.
 * Faults of a controller that died end by themselves; any other controller with the same journal also takes them back.
 *
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { MemoryStateStore } from '@heptad/core';
 * import { ChaosController } from '@heptad/dr/chaos';
 *
 * let child = spawn('sleep', ['60']);
 * const restart = () => child.on('exit', () => { child = spawn('sleep', ['60']); });
 * restart();
 * await using chaos = new ChaosController({
 *   store: new MemoryStateStore(),
 *   targets: { resolve: async (name) => ({ name, instances: [{ id: 'sleeper', pid: child.pid ?? 0 }] }) },
 *   probe: async () => ({ ok: true }),
 *   timing: { steadyMs: 500 },
 * });
 * const report = await chaos.run(`
 * experiment:
 *   name: the sleeper comes back
 *   scenarios:
 *     - { type: pod-failure, target: sleeper }
 *   metrics:
 *     - { name: errors, source: 'probe:error-rate', threshold: '< 1%' }
 * `);
 * console.log(report.verdict, report.because);
 * child.removeAllListeners('exit').kill();
 * ```
 */
export class ChaosController implements AsyncDisposable {
  readonly #options: ChaosControllerOptions;
  readonly #timing: RunTiming;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #journal: ChaosJournal;
  readonly #injectors: ReadonlyMap<string, Injector>;
  readonly #reaper: Timer;
  #running: (RunningExperiment & { readonly abort: AbortController }) | undefined;
  #reaping: Promise<unknown> = Promise.resolve();
  #problem: string | undefined;

  constructor(options: ChaosControllerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    if (this.#timing.faultTtlMs < MIN_FAULT_TTL_MS) {
      throw invalidArgument(`cannot control chaos: faultTtlMs must be at least ${MIN_FAULT_TTL_MS}`);
    }
    if (options.store !== undefined) this.#journal = new StoreJournal(options.store);
    else if (options.directory !== undefined)
      this.#journal = new FileJournal(options.directory, this.#random);
    else
      throw invalidArgument('cannot control chaos: give a state store or a directory to remember faults in');
    const injectors = options.injectors ?? [new NetworkLatencyInjector(), new PodFailureInjector()];
    this.#injectors = new Map(injectors.map((injector) => [injector.type, injector]));
    this.#reaper = this.#clock.interval(REAP_INTERVAL_MS, () => void this.recover(), { unref: true });
  }

  /** Starts an experiment. Errors: `INVALID_EXPERIMENT` (every mistake), `EXPERIMENT_RUNNING`, `NOT_SUPPORTED`. */
  start(
    source: string | Experiment,
    options: { readonly signal?: AbortSignal; readonly onProgress?: (entry: TimelineEntry) => void } = {},
  ): RunningExperiment {
    const experiment = typeof source === 'string' ? parseExperiment(source) : source;
    if (this.#running !== undefined) {
      throw new HeptadError(
        'EXPERIMENT_RUNNING',
        `cannot start "${experiment.name}": "${this.#running.name}" is running`,
        {
          hint: 'wait for it, or abort it',
          retryable: true,
        },
      );
    }
    const lacking = experiment.scenarios.find(({ type }) => !this.#injectors.has(type));
    if (lacking !== undefined) {
      throw new HeptadError(
        'NOT_SUPPORTED',
        `cannot run "${experiment.name}": there is no injector for ${lacking.type}`,
      );
    }
    const id = this.#random.uuid(this.#clock.now());
    const abort = new AbortController();
    options.signal?.addEventListener('abort', () => abort.abort(options.signal?.reason), { once: true });
    if (options.signal?.aborted) abort.abort(options.signal.reason);
    const done = this.#execute(id, experiment, abort.signal, options.onProgress ?? (() => {}));
    this.#running = { id, name: experiment.name, done, abort };
    return { id, name: experiment.name, done };
  }

  /** Starts an experiment and waits for its report. */
  async run(
    source: string | Experiment,
    options: { readonly signal?: AbortSignal; readonly onProgress?: (entry: TimelineEntry) => void } = {},
  ): Promise<ExperimentReport> {
    return this.start(source, options).done;
  }

  async #execute(
    id: string,
    experiment: Experiment,
    signal: AbortSignal,
    onProgress: (entry: TimelineEntry) => void,
  ): Promise<ExperimentReport> {
    const { targets, probe, metrics } = this.#options;
    try {
      const report = await runExperiment({
        id,
        experiment,
        targets,
        injectors: this.#injectors,
        probe,
        ...(metrics === undefined ? {} : { metrics }),
        journal: this.#journal,
        clock: this.#clock,
        random: this.#random,
        signal,
        onProgress,
        timing: this.#timing,
      });
      await this.#journal.saveReport(report);
      return report;
    } finally {
      this.#running = undefined;
    }
  }

  /** The experiment that is running now. */
  get running(): RunningExperiment | undefined {
    return this.#running;
  }

  /**
   * Stops the running experiment, takes back its faults and those of any other controller with the same journal. Resolves
   * when no fault is left; rejects with `FAULT_STUCK` naming those that could not be taken back.
   */
  async abort(reason = 'aborted by hand'): Promise<void> {
    const running = this.#running;
    if (running !== undefined) {
      running.abort.abort(new HeptadError('EXPERIMENT_ABORTED', reason));
      await running.done;
    }
    const stuck = await this.#takeBack(await this.#journal.faults());
    if (stuck.length > 0) {
      throw new HeptadError('FAULT_STUCK', `cannot take back ${stuck.length} faults: ${stuck.join('; ')}`, {
        hint: 'restart the affected targets: faults live in their network namespaces',
      });
    }
  }

  /** Takes back every fault whose time is over. Runs by itself every second; resolves with what is still stuck. */
  async recover(): Promise<readonly string[]> {
    const turn = this.#reaping.then(async () => {
      try {
        const now = this.#clock.now();
        const stuck = await this.#takeBack(
          (await this.#journal.faults()).filter((fault) => fault.expiresAt <= now),
        );
        this.#problem = stuck.length === 0 ? undefined : stuck.join('; ');
        return stuck;
      } catch (error) {
        this.#problem = `the journal of faults cannot be read: ${errorMessage(error)}`;
        return [this.#problem];
      }
    });
    this.#reaping = turn;
    return turn;
  }

  /** Faults that are out there now, and what keeps the reaper from its work, if anything. */
  async status(): Promise<{
    readonly running?: { readonly id: string; readonly name: string };
    readonly faults: readonly FaultRecord[];
    readonly problem?: string;
  }> {
    const running = this.#running;
    return {
      ...(running === undefined ? {} : { running: { id: running.id, name: running.name } }),
      faults: await this.#journal.faults(),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  async #takeBack(faults: readonly FaultRecord[]): Promise<string[]> {
    const stuck: string[] = [];
    for (const fault of faults) {
      try {
        const injector = this.#injectors.get(fault.type);
        if (injector === undefined) throw new Error('this controller has no injector for it');
        await injector.undo(fault);
        await this.#journal.removeFault(fault.id);
      } catch (error) {
        stuck.push(`${fault.type} on ${fault.target} (${fault.id}): ${errorMessage(error)}`);
      }
    }
    return stuck;
  }

  /** A report. Error: `REPORT_NOT_FOUND`. */
  async report(id: string): Promise<ExperimentReport> {
    return this.#journal.report(id);
  }

  /** Ids of the reports, newest first. */
  async reports(): Promise<readonly string[]> {
    return this.#journal.reportIds();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#reaper.cancel();
    const running = this.#running;
    if (running !== undefined) {
      running.abort.abort(new HeptadError('EXPERIMENT_ABORTED', 'the controller was closed'));
      await running.done;
    }
    await this.#reaping;
  }
}
