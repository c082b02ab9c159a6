// The whole public face of @heptad/orchestrator.

export type { Scheduler } from '@heptad/core';
export {
  type AutoscaleDecision,
  Autoscaler,
  type AutoscalerOptions,
  type AutoscaleTarget,
  decideReplicas,
  type Recommendation,
  type Scalable,
} from './adapt/autoscaler.ts';
export { loadSignal, loadSignals } from './adapt/load-signals.ts';
export {
  type OptimizedResources,
  type OptimizeInput,
  type OptimizerDecision,
  optimizeResources,
  ResourceOptimizer,
  type ResourceOptimizerOptions,
  type ResourceSignal,
  type SignalSource,
  type SignalStrategy,
  STRATEGIES,
} from './adapt/optimizer.ts';
export { HealthMonitor, type HealthState, initialHealth, nextHealth } from './agent/health.ts';
export { NodeAgent } from './agent/node-agent.ts';
export type { AgentNode, ContainerSecrets, ContainerServices, NodeAgentOptions } from './agent/options.ts';
export { parseCompose } from './compose/parse.ts';
export { ComposeError, type ComposeProblem } from './compose/problems.ts';
export type { ComposeBuild, ComposeOptions, ComposeProject, ComposeService } from './compose/types.ts';
export { diffSpecs, type SpecDifference } from './control/diff.ts';
export type { DesiredService, DryRun, ServiceChange } from './control/dry-run.ts';
export type { OrchestratorEvent } from './control/events.ts';
export { ContainerOrchestrator } from './control/orchestrator.ts';
export type {
  ContainerOrchestratorOptions,
  DeployOptions,
  ServiceStatusSummary,
} from './control/orchestrator-options.ts';
export {
  InvalidService,
  type ServiceSpecInput,
  type SpecProblem,
  validateService,
} from './control/validate.ts';
export type { WaitOptions } from './control/wait.ts';
export { decideRestart, type RestartDecision, type RestartInput } from './plan/backoff.ts';
export { OrchestrationPlanner, type PlannerOptions } from './plan/planner.ts';
export { type AddressClaim, type ClusterState, emptyState, type RevisionRecord } from './plan/state.ts';
export type { OrchestratorOp, OrchestratorStep, Rollout } from './plan/steps.ts';
export { BestFitScheduler, type BestFitSchedulerOptions } from './schedule/best-fit.ts';
export { type PlacementConstraint, parseConstraint } from './schedule/constraints.ts';
export { NoAvailableNodes, type NodeMiss, NoSuitableNode, placementError } from './schedule/errors.ts';
export {
  constraintsFilter,
  defaultFilters,
  hostPortsFilter,
  nodeReadyFilter,
  resourcesFilter,
} from './schedule/filters.ts';
export { bestFitScore, defaultScores, spreadScore } from './schedule/scores.ts';
