// What a ContainerOrchestrator is given, and what it answers.

import type { Clock, Random, Scheduler, ServiceResource, StateStore } from '@heptad/core';
import type { PlannerOptions } from '../plan/planner.ts';
import type { OrchestratorStep } from '../plan/steps.ts';

/** Options of {@link ContainerOrchestrator}. */
export interface ContainerOrchestratorOptions extends Omit<PlannerOptions, 'scheduler'> {
  readonly store: StateStore;
  /** Default the system's. */
  readonly clock?: Clock;
  /** Default the system's. */
  readonly random?: Random;
  /** Default {@link BestFitScheduler}. */
  readonly scheduler?: Scheduler;
  /** Namespace it looks after. Default `default`. */
  readonly namespace?: string;
  /** Hears what was carried out, after it was. */
  readonly onSteps?: (steps: readonly OrchestratorStep[]) => void;
  /** Hears what went wrong while it goes on by itself (state store away, unreadable key). */
  readonly onError?: (error: unknown) => void;
}

/** A service in figures. */
export interface ServiceStatusSummary {
  readonly name: string;
  /** Replicas there are, those on lost nodes included; those being stopped not. */
  readonly total: number;
  readonly running: number;
  readonly failed: number;
  readonly pending: number;
  /** Running and passing their health check. */
  readonly ready: number;
  /** Replicas wanted. */
  readonly desired: number;
  readonly rollout: NonNullable<ServiceResource['status']['rollout']>['state'] | 'unobserved';
  /** One sentence. */
  readonly message: string;
}

/** How {@link ContainerOrchestrator.deploy} writes. */
export interface DeployOptions {
  /** Labels of the Service resource. Default: those it has, or at creation the spec's. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Only if the service is at this revision (0: only if there is none); else `REVISION_CONFLICT`. */
  readonly ifRevision?: number;
  /** Accept `replicas: 0`. Default false. */
  readonly allowZeroReplicas?: boolean;
}
