// The executor: makes a plan true, one service at a time, each by one compare-and-set.

import { type Clock, type Compare, type Op, STATE_STORE_LIMITS, type StateStore } from '@heptad/core';
import { type ClusterState, Draft, type DraftWrite } from '../plan/state.ts';
import { applyStep, type OrchestratorStep, QUIET_OPS, stepGroup } from '../plan/steps.ts';
import type { EventLog } from './events.ts';

/** What became of a plan. */
export interface ExecutionResult {
  readonly done: OrchestratorStep[];
  /** Steps whose objects somebody else had changed: they are void, and the next plan sees why. */
  readonly void: OrchestratorStep[];
  /** Revision of the last write; 0 when nothing was written. */
  readonly revision: number;
}

/** Options of {@link Executor}. */
export interface ExecutorOptions {
  readonly store: StateStore;
  readonly clock: Clock;
  readonly events: EventLog;
}

/** Compares and operations of one transaction; a step needs at most six more, and the ticket two. */
const OPERATIONS_TARGET = STATE_STORE_LIMITS.operations - 10;
/** Bytes of one transaction, with room for keys and one more step. */
const BYTES_TARGET = STATE_STORE_LIMITS.requestBytes / 2;

/** Steps that change how many replicas there are: they need the ticket. */
const TICKET_OPS: ReadonlySet<OrchestratorStep['op']> = new Set([
  'create-container',
  'bind-container',
  'drain-container',
  'remove-container',
  'roll-back',
]);

/**
 * Writes plans.
 *
 * Why several controllers may do this at once: all keys a service's steps change are compared with the revisions the
 * plan was made on, and every transaction that creates, drains or removes replicas also rewrites the Service itself
 * (the ticket). So of two plans made on the same state only one is carried out, and a plan made on an older state than
 * the last one carried out is void as a whole. The availability floor therefore holds however many controllers run.
 * Events are written in the same transaction as what they tell of: they are never missing and never lie.
 */
export class Executor {
  readonly #options: ExecutorOptions;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /** Carries out the steps as far as the state they were planned on still holds. */
  async execute(state: ClusterState, steps: readonly OrchestratorStep[]): Promise<ExecutionResult> {
    const draft = new Draft(state);
    const latest = new Map<string, number>();
    const done: OrchestratorStep[] = [];
    const skipped: OrchestratorStep[] = [];
    let revision = 0;
    for (const group of groups(steps)) {
      for (const { steps: chunk, writes } of chunks(draft, group)) {
        const written = await this.#commit(chunk, writes, latest);
        if (written === undefined) {
          // Later chunks build on this one.
          skipped.push(...chunk);
          break;
        }
        revision = written;
        done.push(...chunk);
      }
    }
    const missing = steps.length - done.length - skipped.length;
    if (missing > 0) {
      const known = new Set([...done, ...skipped]);
      skipped.push(...steps.filter((step) => !known.has(step)));
    }
    await this.#options.events.prune();
    return { done, void: skipped, revision };
  }

  async #commit(
    steps: readonly OrchestratorStep[],
    writes: readonly DraftWrite[],
    latest: Map<string, number>,
  ): Promise<number | undefined> {
    const { store, clock, events } = this.#options;
    const compare = writes.map(
      (write): Compare => ({
        key: write.key,
        target: 'modRevision',
        is: '=',
        than: latest.get(write.key) ?? write.revision,
      }),
    );
    const changes = writes.map(
      ({ key, value }): Op => (value === undefined ? { op: 'delete', key } : { op: 'put', key, value }),
    );
    const at = clock.now();
    const told = steps
      .filter((step) => !QUIET_OPS.has(step.op))
      .map(({ object, op, because }) => events.append({ at, object, op, because, source: 'orchestrator' }));
    const result = await store.txn({ compare, success: [...changes, ...told] });
    if (!result.succeeded) return undefined;
    for (const { key, value } of writes) latest.set(key, value === undefined ? 0 : result.revision);
    return result.revision;
  }
}

/** Steps by group, groups in the order of their first step. */
function groups(steps: readonly OrchestratorStep[]): OrchestratorStep[][] {
  const byGroup = new Map<string, OrchestratorStep[]>();
  for (const step of steps) {
    const key = stepGroup(step);
    const group = byGroup.get(key);
    if (group === undefined) byGroup.set(key, [step]);
    else group.push(step);
  }
  return [...byGroup.values()];
}

/** Applies a group's steps to the draft and cuts them where a transaction is full. */
function* chunks(
  draft: Draft,
  steps: readonly OrchestratorStep[],
): Generator<{ steps: OrchestratorStep[]; writes: DraftWrite[] }> {
  let chunk: OrchestratorStep[] = [];
  let operations = 0;
  let bytes = 0;
  for (const step of steps) {
    applyStep(draft, step);
    chunk.push(step);
    // At most two keys a step, each compared and written, and one event.
    operations += 5;
    bytes +=
      step.op === 'create-container' || step.op === 'roll-back' ? JSON.stringify(step.payload).length : 2_000;
    if (operations < OPERATIONS_TARGET && bytes < BYTES_TARGET) continue;
    yield { steps: chunk, writes: withTicket(draft, chunk) };
    chunk = [];
    operations = 0;
    bytes = 0;
  }
  if (chunk.length > 0) yield { steps: chunk, writes: withTicket(draft, chunk) };
}

function withTicket(draft: Draft, chunk: readonly OrchestratorStep[]): DraftWrite[] {
  const ticketed = chunk.find((step) => TICKET_OPS.has(step.op));
  if (ticketed !== undefined && 'service' in ticketed.payload) {
    const service = draft.services.get(ticketed.payload.service);
    if (service !== undefined) draft.put('Service', service);
  }
  return draft.takeWrites();
}
