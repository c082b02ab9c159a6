// The public face of @heptad/dr/chaos: faults on purpose, proven, and taken back whatever happens.

export { ChaosController, type ChaosControllerOptions, type RunningExperiment } from './controller.ts';
export {
  type Experiment,
  type ExperimentMetric,
  type NetworkLatencyParams,
  type PodFailureParams,
  parseExperiment,
  type Scenario,
} from './experiment.ts';
export type { ExperimentIssue } from './experiment-issues.ts';
export { type ChaosJournal, FileJournal, StoreJournal } from './journal.ts';
export { NetworkLatencyInjector, type NetworkLatencyInjectorOptions } from './latency/injector.ts';
export { type InstanceKiller, PodFailureInjector, processKiller } from './pod-failure.ts';
export type {
  ExperimentReport,
  MetricOutcome,
  Phase,
  ProbeSample,
  ProbeSummary,
  ScenarioOutcome,
  ScorePart,
  TimelineEntry,
} from './report.ts';
export { renderReportHtml } from './report-html.ts';
export type { RunTiming } from './run-context.ts';
export type { Threshold } from './threshold.ts';
export type {
  ActiveFault,
  ChaosInstance,
  ChaosTarget,
  FaultRecord,
  InjectionRequest,
  Injector,
  MetricReader,
  Probe,
  ProbeOutcome,
  Proof,
  TargetResolver,
} from './types.ts';
