// Dry runs: the planner on a state in which the wish is already written.

import type { Instant, Planner, ServiceResource, ServiceSpec } from '@heptad/core';
import { derivedUuid, SERVICE_FINALIZER, templateHash } from '../plan/identity.ts';
import { type ClusterState, Draft } from '../plan/state.ts';
import { applyStep, type OrchestratorStep, QUIET_OPS } from '../plan/steps.ts';
import { diffSpecs, type SpecDifference } from './diff.ts';
import { type ServiceSpecInput, validateService } from './validate.ts';

/** A service somebody wants. */
export interface DesiredService {
  readonly name: string;
  readonly spec: ServiceSpecInput;
}

/** What would happen to one service. */
export interface ServiceChange {
  readonly name: string;
  readonly action: 'create' | 'update' | 'scale' | 'remove' | 'unchanged';
  /** Whether its replicas are replaced one by one; otherwise they go on running. */
  readonly rolls: boolean;
  readonly differences: readonly SpecDifference[];
  /** Revision of the service the plan was made on, 0 when there is none: deploy with `ifRevision` to apply just this. */
  readonly revision: number;
}

/** What {@link ContainerOrchestrator.plan} answers. */
export interface DryRun {
  readonly changes: readonly ServiceChange[];
  /** The first steps that would be taken, with reasons. */
  readonly steps: readonly OrchestratorStep[];
  /** Where new replicas would go, and why some would find no node. */
  readonly placements: readonly {
    readonly container: string;
    readonly node?: string;
    readonly reason?: string;
  }[];
  readonly pending: boolean;
}

/** See {@link ContainerOrchestrator.plan}. */
export function dryRun(
  state: ClusterState,
  desired: readonly DesiredService[],
  planner: Planner<ClusterState, OrchestratorStep>,
  now: Instant,
  options: { prune?: boolean },
): DryRun {
  const draft = new Draft(state);
  const changes = desired.map(({ name, spec }) => wish(draft, name, validateService(name, spec), now));
  if (options.prune === true) {
    const wanted = new Set(desired.map(({ name }) => name));
    for (const service of [...draft.services.values()]) {
      if (wanted.has(service.name) || service.deletedAt !== undefined) continue;
      draft.put('Service', { ...service, deletedAt: now });
      changes.push({
        name: service.name,
        action: 'remove',
        rolls: false,
        differences: [],
        revision: service.revision,
      });
    }
  }
  const steps = planner.plan(draft, now);
  const after = new Draft(draft);
  for (const step of steps) applyStep(after, step);
  const placements = [...after.containers.values()]
    .filter((container) => !state.containers.has(container.name))
    .map((container) => ({
      container: container.name,
      ...(container.spec.node === undefined
        ? { reason: container.status.message }
        : { node: container.spec.node }),
    }));
  return {
    changes,
    steps: steps.filter((step) => !QUIET_OPS.has(step.op)),
    placements,
    pending: changes.some((change) => change.action !== 'unchanged'),
  };
}

function wish(draft: Draft, name: string, spec: ServiceSpec, now: Instant): ServiceChange {
  const current = draft.services.get(name);
  if (current === undefined) {
    draft.put('Service', newService(draft.namespace, name, spec, now));
    return { name, action: 'create', rolls: false, differences: [], revision: 0 };
  }
  const differences = diffSpecs(current.spec, spec);
  draft.put('Service', {
    ...current,
    spec,
    generation: current.generation + (differences.length > 0 ? 1 : 0),
  });
  const scales = differences.every((difference) => difference.path === 'replicas');
  return {
    name,
    action: differences.length === 0 ? 'unchanged' : scales ? 'scale' : 'update',
    rolls: templateHash(current.spec) !== templateHash(spec),
    differences,
    revision: current.revision,
  };
}

function newService(namespace: string, name: string, spec: ServiceSpec, now: Instant): ServiceResource {
  return {
    kind: 'Service',
    id: derivedUuid(now, `${namespace}/${name}`),
    namespace,
    name,
    labels: spec.labels,
    spec,
    status: {
      observedGeneration: 0,
      replicas: { total: 0, running: 0, failed: 0, pending: 0, ready: 0, updated: 0 },
      conditions: [],
    },
    generation: 1,
    revision: 0,
    createdAt: now,
    finalizers: [SERVICE_FINALIZER],
  };
}
