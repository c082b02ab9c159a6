// The rollout of a changed spec: begun, completed, given up, rolled back.

import type { Instant, ServiceResource, ServiceSpec } from '@heptad/core';
import { canonicalJson } from './identity.ts';
import type { ClusterState, Draft, RevisionRecord } from './state.ts';
import type { OrchestratorStep, Rollout } from './steps.ts';
import { isAvailable, type ServiceView, viewService } from './view.ts';

/** Revisions kept for a service, besides the last good one. Kubernetes keeps as many. */
export const REVISION_HISTORY_LIMIT = 10;
/**
 * A new replica that was restarted this often without staying up ends the rollout before its deadline. At 100 ms
 * doubled each time that is at least 3 s of trying.
 */
export const CRASH_LOOP_RESTARTS = 5;

/** Emits a step and makes it true in the draft, so that later phases of the same plan build on it. */
export type Emit = (step: OrchestratorStep) => void;

/** Newest revision on record. */
export function latestRevision(state: ClusterState, service: string): RevisionRecord | undefined {
  return state.revisions.get(service)?.at(-1);
}

/** Newest revision that worked and is not `hash`. */
export function lastGoodRevision(
  state: ClusterState,
  service: string,
  hash: string,
): RevisionRecord | undefined {
  return state.revisions
    .get(service)
    ?.findLast((record) => record.outcome === 'good' && record.templateHash !== hash);
}

function objectOf(service: ServiceResource): string {
  return `Service/${service.namespace}/${service.name}`;
}

/** Plans the beginning and the failure of a rollout, before the service's replicas are planned. */
export function planRollout(draft: Draft, service: ServiceResource, now: Instant, emit: Emit): void {
  const view = viewService(draft, service);
  recordRevision(draft, view, now, emit);
  const rollout = service.status.rollout;
  const number = latestRevision(draft, service.name)?.number ?? 1;
  if (rollout === undefined || rollout.templateHash !== view.hash) {
    emit({
      op: 'set-rollout',
      object: objectOf(service),
      because: `revision ${number} of ${service.name} is wanted now`,
      payload: {
        service: service.name,
        rollout: {
          state: 'progressing',
          message: `rolling out revision ${number}`,
          progressedAt: now,
          templateHash: view.hash,
        },
      },
    });
    return;
  }
  if (rollout.state !== 'progressing' || isComplete(view, now)) return;
  const good = lastGoodRevision(draft, service.name, view.hash);
  const failure = rolloutFailure(view, rollout, good !== undefined, now);
  if (failure !== undefined) giveUp(draft, view, rollout, number, failure, now, emit);
}

/** Plans the end of a rollout that is through, after the replicas were planned: the last one may go in this very plan. */
export function planCompletion(draft: Draft, service: ServiceResource, now: Instant, emit: Emit): void {
  const { rollout } = service.status;
  // One that was given up may have come right after all.
  if (rollout?.state !== 'progressing' && rollout?.state !== 'failed') return;
  const view = viewService(draft, service);
  if (!isComplete(view, now)) return;
  complete(view, rollout, latestRevision(draft, service.name)?.number ?? 1, emit);
}

function recordRevision(draft: Draft, view: ServiceView, now: Instant, emit: Emit): void {
  const { service, hash } = view;
  const records = draft.revisions.get(service.name) ?? [];
  const latest = records.at(-1);
  if (latest?.templateHash === hash) {
    refreshRevision(latest, service, emit);
    return;
  }
  const number = (latest?.number ?? 0) + 1;
  const wasGood = records.some((record) => record.templateHash === hash && record.outcome === 'good');
  emit({
    op: 'record-revision',
    object: objectOf(service),
    because: `the spec of ${service.name} changed: it is revision ${number}`,
    payload: {
      service: service.name,
      record: {
        number,
        templateHash: hash,
        spec: service.spec,
        at: now,
        outcome: wasGood ? 'good' : 'progressing',
        revision: 0,
      },
    },
  });
  const good = draft.revisions.get(service.name)?.findLast((record) => record.outcome === 'good');
  const surplus = (draft.revisions.get(service.name) ?? [])
    .slice(0, -REVISION_HISTORY_LIMIT)
    .filter((record) => record.number !== good?.number);
  for (const record of surplus) {
    emit({
      op: 'forget-revision',
      object: objectOf(service),
      because: `only ${REVISION_HISTORY_LIMIT} revisions are kept`,
      payload: { service: service.name, number: record.number },
    });
  }
}

/** Limits and the like change without a new revision; going back to this one later must not take them back. */
function refreshRevision(latest: RevisionRecord, service: ServiceResource, emit: Emit): void {
  const text = (spec: ServiceSpec): string => canonicalJson({ ...spec, replicas: 0 });
  if (text(latest.spec) === text(service.spec)) return;
  emit({
    op: 'record-revision',
    object: objectOf(service),
    because: `the spec of ${service.name} changed in what running replicas take over live`,
    payload: { service: service.name, record: { ...latest, spec: service.spec } },
  });
}

/** All wanted replicas are available and nothing of an older template is left. */
function isComplete(view: ServiceView, now: Instant): boolean {
  const { spec } = view.service;
  const available = view.current.filter((container) => isAvailable(container, spec.update.minReadyMs, now));
  return available.length >= spec.replicas && view.outdated.length === 0 && view.draining.length === 0;
}

function complete(view: ServiceView, rollout: Rollout, number: number, emit: Emit): void {
  const { service } = view;
  emit({
    op: 'set-rollout',
    object: objectOf(service),
    because: `revision ${number} of ${service.name} runs on all ${service.spec.replicas} replicas`,
    payload: {
      service: service.name,
      rollout: { ...rollout, state: 'idle', message: `revision ${number} is rolled out` },
    },
  });
  emit({
    op: 'mark-revision',
    object: objectOf(service),
    because: `revision ${number} became ready`,
    payload: { service: service.name, number, outcome: 'good' },
  });
}

/**
 * Why the rollout has failed, as a sentence part; undefined while it may still succeed. A crash loop ends it early only
 * when there is something better to go back to: a first deployment may be waiting for a neighbour that comes later.
 */
function rolloutFailure(
  view: ServiceView,
  rollout: Rollout,
  canGoBack: boolean,
  now: Instant,
): string | undefined {
  const crashing = view.current.find(
    (container) => !container.status.ready && container.status.restarts >= CRASH_LOOP_RESTARTS,
  );
  if (crashing !== undefined && canGoBack) {
    return `${crashing.name} was restarted ${crashing.status.restarts} times (${crashing.status.message})`;
  }
  const ended = view.current.find(
    (container) => container.status.status === 'Failed' && container.status.restartAt === undefined,
  );
  if (ended !== undefined) return `${ended.name} failed for good (${ended.status.message})`;
  const { progressDeadlineMs, minReadyMs } = view.service.spec.update;
  // Waiting for replicas to have been ready long enough is not lack of progress.
  if (now - rollout.progressedAt <= progressDeadlineMs + minReadyMs) return undefined;
  const stuck = view.current.find((container) => !container.status.ready);
  const what = stuck === undefined ? '' : ` (${stuck.name}: ${stuck.status.message})`;
  return `nothing progressed for ${Math.round(progressDeadlineMs / 1000)} s${what}`;
}

function giveUp(
  draft: Draft,
  view: ServiceView,
  rollout: Rollout,
  number: number,
  failure: string,
  now: Instant,
  emit: Emit,
): void {
  const { service, hash } = view;
  const good = lastGoodRevision(draft, service.name, hash);
  const object = objectOf(service);
  emit({
    op: 'mark-revision',
    object,
    because: failure,
    payload: { service: service.name, number, outcome: 'failed' },
  });
  if (service.spec.update.onFailure === 'pause') {
    const message = `revision ${number} is paused: ${failure}`;
    emit({
      op: 'set-rollout',
      object,
      because: message,
      payload: { service: service.name, rollout: { ...rollout, state: 'paused', message } },
    });
    return;
  }
  if (good === undefined) {
    // There is nothing to go back to: the replicas go on trying, and completing later makes it good after all.
    const message = `revision ${number} failed: ${failure}; no earlier revision worked`;
    emit({
      op: 'set-rollout',
      object,
      because: message,
      payload: { service: service.name, rollout: { ...rollout, state: 'failed', message } },
    });
    return;
  }
  const message = `rolled back to revision ${good.number}, because revision ${number} failed: ${failure}`;
  emit({
    op: 'roll-back',
    object,
    because: message,
    payload: {
      service: service.name,
      // How many replicas there should be is not part of a revision: it may have been scaled since.
      spec: { ...good.spec, replicas: service.spec.replicas },
      rollout: { state: 'rolled-back', message, progressedAt: now, templateHash: good.templateHash },
    },
  });
  const rolledBack = draft.services.get(service.name);
  if (rolledBack !== undefined) recordRevision(draft, viewService(draft, rolledBack), now, emit);
}
