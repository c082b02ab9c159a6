// One fault from its plan to the proof of its going: whatever happens in between, it is taken back.

import { errorMessage, HeptadError } from '@heptad/core';
import type { Scenario } from './experiment.ts';
import type { ScenarioOutcome, TimelineEntry } from './report.ts';
import type { RunContext } from './run-context.ts';
import type { ActiveFault, FaultRecord, InjectionRequest, Injector } from './types.ts';

/** Renewals per ttl: two may get lost. */
const RENEWALS_PER_TTL = 3;

/** What a fault's holder needs of its run. */
export interface FaultRun {
  readonly context: RunContext;
  readonly note: (kind: TimelineEntry['kind'], message: string) => void;
  /** Since the run's start, milliseconds. */
  readonly elapsed: () => number;
  readonly readMetrics: () => Promise<void>;
  /** Called with what came of the fault, before an abort is passed on. */
  readonly onOutcome: (outcome: ScenarioOutcome) => void;
}

/**
 * Runs one scenario. Rejects when it could not be planned or the run was aborted; an injection that failed is in the outcome.
 */
export async function holdFault(run: FaultRun, scenario: Scenario): Promise<void> {
  const { targets, injectors, clock, random, timing, signal, id, journal } = run.context;
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
    onEvent: (message) => run.note('fault', message),
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
  await hold(run, scenario, injector, request, record);
}

async function hold(
  run: FaultRun,
  scenario: Scenario,
  injector: Injector,
  request: InjectionRequest,
  record: FaultRecord,
): Promise<void> {
  const { clock, signal, journal } = run.context;
  const startedAtMs = run.elapsed();
  let fault: ActiveFault | undefined;
  let interrupted: unknown;
  try {
    run.note(
      'fault',
      `injecting ${scenario.type} into ${scenario.target} (${record.instances.length} instances)`,
    );
    fault = await injector.inject(request);
    await keep(run, scenario, fault, record);
  } catch (error) {
    interrupted = error;
  }
  // From here on nothing may be skipped, aborted or not: the fault must go.
  const removal = await attempt(async () => {
    if (fault === undefined) await injector.undo(record);
    else await fault.remove();
    await journal.removeFault(record.id);
  });
  run.note('fault', removal.ok ? `${scenario.type} on ${scenario.target} taken back` : removal.problem);
  const recovery =
    fault === undefined || signal.aborted || !removal.ok
      ? { ok: false, problem: errorMessage(interrupted ?? 'not observed') }
      : await attempt(() => fault.recovered(signal));
  const problem = removal.ok ? (recovery.ok ? undefined : recovery.problem) : removal.problem;
  run.onOutcome({
    type: scenario.type,
    target: scenario.target,
    params: { ...scenario.params },
    faultId: record.id,
    startedAtMs,
    endedAtMs: run.elapsed(),
    proof: fault?.proof() ?? { proven: false, because: errorMessage(interrupted), evidence: {} },
    removed: removal.ok,
    recovered: recovery.ok,
    ...(problem === undefined ? {} : { problem }),
  });
  // An injection that failed ends this scenario, not the experiment: its verdict is "unproven" anyway.
  if (signal.aborted) throw signal.reason;
  if (interrupted !== undefined) run.note('problem', errorMessage(interrupted));
  await clock.sleep(0);
}

/** Keeps the fault alive for its time, observing it; it ends by itself when this does not go on. */
async function keep(
  run: FaultRun,
  scenario: Scenario,
  fault: ActiveFault,
  record: FaultRecord,
): Promise<void> {
  const { clock, signal, journal, timing } = run.context;
  const endMs = clock.monotonicMs() + scenario.params.durationMs;
  const stepMs = Math.min(timing.observeIntervalMs, timing.faultTtlMs / RENEWALS_PER_TTL);
  let renewedMs = clock.monotonicMs();
  do {
    await fault.observe(signal);
    await run.readMetrics();
    if (clock.monotonicMs() - renewedMs >= timing.faultTtlMs / RENEWALS_PER_TTL) {
      renewedMs = clock.monotonicMs();
      if (!(await journal.renewFault(record.id, clock.now() + timing.faultTtlMs))) {
        throw new HeptadError('FAULT_REVOKED', `somebody else took back ${record.type} on ${record.target}`);
      }
      await fault.renew();
    }
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs > 0) await clock.sleep(Math.min(stepMs, leftMs), signal);
  } while (clock.monotonicMs() < endMs);
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
