// OrchestrationPlanner: the whole plan, phase by phase, each phase seeing what the ones before it made true.

import type { Instant, Planner, Scheduler, ServiceResource } from '@heptad/core';
import { BestFitScheduler } from '../schedule/best-fit.ts';
import { type AddressRange, chooseAddress, parseAddressRange } from './addresses.ts';
import { planAddressReleases, planContainerReleases, planOrphans, planServiceRelease } from './deletion.ts';
import { planEndpoints } from './endpoints.ts';
import { type HeartbeatLimits, planNodes } from './nodes.ts';
import { planPlacement } from './place.ts';
import { planReplicas, type ReplicaOptions } from './replicas.ts';
import { planReport } from './report.ts';
import { type Emit, planCompletion, planRollout } from './rollout.ts';
import { type ClusterState, Draft } from './state.ts';
import { applyStep, type OrchestratorStep } from './steps.ts';

/** Default window between taking a replica out of traffic and stopping it. Watches deliver in well under a second. */
export const DEFAULT_DRAIN_MS = 2_000;
/** Default silence after which a node is suspect: three heartbeats of 2 s. */
export const DEFAULT_SUSPECT_MS = 6_000;
/** Default silence after which a node is down. */
export const DEFAULT_DOWN_MS = 10_000;
/** Default range of virtual addresses: a range that is routed nowhere else on a node. */
export const DEFAULT_VIRTUAL_ADDRESSES = '10.88.0.0/16';

/** Options of {@link OrchestrationPlanner}. */
export interface PlannerOptions extends Partial<HeartbeatLimits>, Partial<ReplicaOptions> {
  /** Default {@link BestFitScheduler}. */
  readonly scheduler?: Scheduler;
  /** Range of virtual addresses. Default `10.88.0.0/16`. */
  readonly virtualAddressCidr?: string;
}

/**
 * Decides everything the orchestrator does: a pure, total, deterministic function from the cluster's state and the
 * time to steps. A second plan on the result, at the same time, is empty.
 *
 * @example
 * ```ts
 * import { emptyState, OrchestrationPlanner } from '@heptad/orchestrator';
 *
 * const steps = new OrchestrationPlanner().plan(emptyState(), 0);
 * if (steps.length !== 0) throw new Error('nothing to do in an empty cluster');
 * ```
 */
export class OrchestrationPlanner implements Planner<ClusterState, OrchestratorStep> {
  readonly #scheduler: Scheduler;
  readonly #range: AddressRange;
  readonly #limits: HeartbeatLimits;
  readonly #replicas: ReplicaOptions;

  constructor(options: PlannerOptions = {}) {
    this.#scheduler = options.scheduler ?? new BestFitScheduler();
    this.#range = parseAddressRange(options.virtualAddressCidr ?? DEFAULT_VIRTUAL_ADDRESSES);
    this.#limits = {
      suspectMs: options.suspectMs ?? DEFAULT_SUSPECT_MS,
      downMs: options.downMs ?? DEFAULT_DOWN_MS,
    };
    this.#replicas = { drainMs: options.drainMs ?? DEFAULT_DRAIN_MS };
  }

  /** See {@link Planner}. */
  plan(state: ClusterState, now: Instant): OrchestratorStep[] {
    const draft = new Draft(state);
    const steps: OrchestratorStep[] = [];
    const emit: Emit = (step) => {
      steps.push(step);
      applyStep(draft, step);
    };
    const forServices = (phase: (service: ServiceResource) => void): void => {
      for (const name of [...draft.services.keys()].sort()) {
        const service = draft.services.get(name);
        if (service !== undefined) phase(service);
      }
    };
    // Node health first: it decides which replicas are lost.
    planNodes(draft, now, this.#limits, emit);
    planOrphans(draft, now, emit);
    forServices((service) => {
      if (service.deletedAt !== undefined) return;
      this.#planAddress(draft, service, emit);
    });
    forServices((service) => {
      if (service.deletedAt === undefined) planRollout(draft, service, now, emit);
    });
    forServices((service) => {
      planReplicas(draft, service, now, this.#replicas, emit);
    });
    planContainerReleases(draft, emit);
    forServices((service) => {
      planServiceRelease(draft, service, emit);
    });
    planAddressReleases(draft, emit);
    planEndpoints(draft, emit);
    planPlacement(draft, now, this.#scheduler, emit);
    // Again, for what was released: allocation must not lag behind the containers it sums up.
    planNodes(draft, now, this.#limits, emit);
    forServices((service) => {
      if (service.deletedAt === undefined) planCompletion(draft, service, now, emit);
    });
    forServices((service) => {
      planReport(draft, service, now, emit);
    });
    return steps;
  }

  #planAddress(draft: Draft, service: ServiceResource, emit: Emit): void {
    if (service.status.virtualAddress !== undefined) return;
    const owner = `${service.namespace}/${service.name}`;
    // A claim without an address in the status is ours from a transaction whose outcome we did not learn.
    const held = [...draft.addresses.values()].find(
      (claim) => claim.service === service.name && claim.namespace === service.namespace,
    );
    const address = held?.address ?? chooseAddress(this.#range, owner, draft.addresses);
    if (address === undefined) return;
    emit({
      op: 'claim-address',
      object: `Service/${owner}`,
      because: `${service.name} needs a stable address; ${address} is free`,
      payload: { service: service.name, address },
    });
  }
}
