// ContainerOrchestrator: the face of the orchestrator; says what should run, and keeps it running once started.

import {
  type Clock,
  HeptadError,
  type NodeResource,
  Resources,
  type ServiceResource,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { SERVICE_FINALIZER, templateHash } from '../plan/identity.ts';
import { DEFAULT_DOWN_MS, DEFAULT_SUSPECT_MS, OrchestrationPlanner } from '../plan/planner.ts';
import type { RevisionRecord } from '../plan/state.ts';
import { isFinished } from '../plan/view.ts';
import { readClusterState, readRevisions } from './decode.ts';
import { type DesiredService, type DryRun, dryRun } from './dry-run.ts';
import { EventLog, type OrchestratorEvent } from './events.ts';
import { explainService } from './explain.ts';
import { ControlLoop } from './loop.ts';
import type {
  ContainerOrchestratorOptions,
  DeployOptions,
  ServiceStatusSummary,
} from './orchestrator-options.ts';
import { checkPublishedPorts } from './published-ports.ts';
import { type ServiceSpecInput, validateService } from './validate.ts';
import { type WaitOptions, waitForService } from './wait.ts';

/**
 * Desired state in, running replicas out.
 *
 * Without {@link ContainerOrchestrator.start} it is a client: it reads and writes what should run. Started, it also
 * plans and executes; any number may be started on one store.
 *
 * @example
 * ```ts
 * import { MemoryStateStore } from '@heptad/core';
 * import { ContainerOrchestrator } from '@heptad/orchestrator';
 *
 * await using store = new MemoryStateStore();
 * await using orchestrator = new ContainerOrchestrator({ store });
 * await orchestrator.start();
 * await orchestrator.deploy('web', {
 *   image: 'web:1', replicas: 2, ports: [], environment: {}, dependencies: [], labels: {}, volumes: [],
 *   resources: { requests: { cpuMillis: 100, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
 * });
 * console.log((await orchestrator.status('web')).desired); // 2
 * ```
 */
export class ContainerOrchestrator implements AsyncDisposable {
  readonly namespace: string;
  readonly #options: ContainerOrchestratorOptions;
  readonly #clock: Clock;
  readonly #services: Resources<'Service'>;
  readonly #nodes: Resources<'Node'>;
  readonly #planner: OrchestrationPlanner;
  readonly #events: EventLog;
  #loop: ControlLoop | undefined;

  constructor(options: ContainerOrchestratorOptions) {
    this.#options = options;
    this.namespace = options.namespace ?? 'default';
    this.#clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const access = { clock: this.#clock, random, namespace: this.namespace };
    this.#services = new Resources(options.store, 'Service', access);
    this.#nodes = new Resources(options.store, 'Node', access);
    this.#events = new EventLog(options.store, this.namespace, random);
    this.#planner = new OrchestrationPlanner(options);
  }

  /** Begins to plan and execute. Resolves once the state has been read; harmless when called twice. */
  async start(): Promise<void> {
    this.#loop ??= new ControlLoop({
      store: this.#options.store,
      namespace: this.namespace,
      clock: this.#clock,
      random: this.#options.random ?? systemRandom,
      planner: this.#planner,
      limits: {
        suspectMs: this.#options.suspectMs ?? DEFAULT_SUSPECT_MS,
        downMs: this.#options.downMs ?? DEFAULT_DOWN_MS,
      },
      events: this.#events,
      onError: this.#options.onError ?? (() => {}),
      ...(this.#options.onSteps === undefined ? {} : { onSteps: this.#options.onSteps }),
    });
    await this.#loop.ready;
  }

  /** Stops planning. What runs goes on running. */
  async close(): Promise<void> {
    const loop = this.#loop;
    this.#loop = undefined;
    await loop?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Creates a service or changes it; resolves when that is written, not when it runs (see
   * {@link ContainerOrchestrator.waitFor}).
   *
   * @throws InvalidService `INVALID_SERVICE` with all problems; HeptadError `PORT_IN_USE` when another service has a
   * published port, `REVISION_CONFLICT` while it is being removed or when `ifRevision` does not hold.
   */
  async deploy(name: string, input: ServiceSpecInput, options: DeployOptions = {}): Promise<ServiceResource> {
    const spec = validateService(name, input, options);
    checkPublishedPorts(name, spec, await this.list());
    const existing = await this.#services.find(name);
    return this.#services.apply(
      {
        name,
        spec,
        // Who changes only the spec (a quota, an autoscaler) must not take away who it belongs to.
        labels: { ...(options.labels ?? existing?.labels ?? spec.labels) },
        finalizers: [SERVICE_FINALIZER],
      },
      options.ifRevision === undefined ? {} : { ifRevision: options.ifRevision },
    );
  }

  /** Deploys several services; checks all of them before it writes the first. */
  async apply(desired: readonly DesiredService[]): Promise<ServiceResource[]> {
    for (const { name, spec } of desired) validateService(name, spec);
    const results: ServiceResource[] = [];
    for (const { name, spec } of desired) results.push(await this.deploy(name, spec));
    return results;
  }

  /** Sets the number of replicas; 0 stops all and keeps name and address. `NOT_FOUND`, `INVALID_SERVICE`. */
  async scale(name: string, replicas: number): Promise<ServiceResource> {
    return this.#services.update(name, (current) => {
      this.#refuseRemoved(current, 'scale');
      const spec = validateService(name, { ...current.spec, replicas }, { allowZeroReplicas: true });
      return { ...current, spec };
    });
  }

  /**
   * Goes back to an earlier revision: `to`, or the last one that worked and differs from the present.
   *
   * @throws HeptadError `NOT_FOUND`, `NO_REVISION` when there is none to go back to.
   */
  async rollback(name: string, options: { to?: number } = {}): Promise<ServiceResource> {
    const service = await this.#services.get(name);
    const history = await this.history(name);
    const hash = templateHash(service.spec);
    const target =
      options.to === undefined
        ? history.findLast((record) => record.outcome === 'good' && record.templateHash !== hash)
        : history.find((record) => record.number === options.to);
    if (target === undefined) {
      const known = history.map((record) => record.number).join(', ') || 'none';
      throw new HeptadError(
        'NO_REVISION',
        `cannot roll back ${name}: ${options.to === undefined ? 'no earlier revision worked' : `there is no revision ${options.to}`}`,
        { hint: `revisions on record: ${known}` },
      );
    }
    return this.#services.update(name, (current) => {
      this.#refuseRemoved(current, 'roll back');
      return { ...current, spec: { ...target.spec, replicas: current.spec.replicas } };
    });
  }

  /** Leaves replicas of an older revision alone until {@link ContainerOrchestrator.resume} or the next change. */
  async pause(name: string): Promise<ServiceResource> {
    return this.#setRollout(name, 'paused', 'paused by a person');
  }

  /** Goes on with a paused rollout, with a fresh deadline. */
  async resume(name: string): Promise<ServiceResource> {
    return this.#setRollout(name, 'progressing', 'resumed by a person');
  }

  /** Marks a service for removal: its replicas drain and stop, then it is gone. `NOT_FOUND`. */
  async remove(name: string): Promise<void> {
    await this.#services.remove(name);
  }

  /** One service, `NOT_FOUND` when there is none. */
  get(name: string): Promise<ServiceResource> {
    return this.#services.get(name);
  }

  /** All services in name order. */
  async list(): Promise<ServiceResource[]> {
    return (await this.#services.list()).items;
  }

  /** A service in figures, with a sentence. `NOT_FOUND`. */
  async status(name: string): Promise<ServiceStatusSummary> {
    const service = await this.#services.get(name);
    const { replicas, rollout, conditions, observedGeneration } = service.status;
    const { total, running, failed, pending, ready } = replicas;
    const seen = observedGeneration === service.generation;
    const available = conditions.find((condition) => condition.type === 'Available');
    const moving = rollout !== undefined && rollout.state !== 'idle' ? `; ${rollout.message}` : '';
    return {
      name,
      total,
      running,
      failed,
      pending,
      ready,
      desired: service.spec.replicas,
      rollout: seen ? (rollout?.state ?? 'unobserved') : 'unobserved',
      message: seen
        ? `${available?.message ?? 'nothing is known yet'}${moving}`
        : 'the orchestrator has not seen the last change yet',
    };
  }

  /** What would be done if these services were deployed: differences, steps and placements. Changes nothing. */
  async plan(desired: readonly DesiredService[], options: { prune?: boolean } = {}): Promise<DryRun> {
    const now = this.#clock.now();
    const state = await readClusterState(this.#options.store, this.namespace, now);
    return dryRun(state, desired, this.#planner, now, options);
  }

  /** Why a service is as it is: sentences, the most important first. `NOT_FOUND`. */
  async explain(name: string): Promise<string[]> {
    await this.#services.get(name);
    const now = this.#clock.now();
    const state = await readClusterState(this.#options.store, this.namespace, now);
    const service = state.services.get(name) ?? (await this.#services.get(name));
    return explainService(state, service, now);
  }

  /** Revisions of a service on record, oldest first. */
  async history(name: string): Promise<RevisionRecord[]> {
    return (await readRevisions(this.#options.store, this.namespace, name)).get(name) ?? [];
  }

  /** The newest events, oldest first. Default limit 100; `object` is `Kind/namespace/name`. */
  async events(options: { limit?: number; object?: string } = {}): Promise<OrchestratorEvent[]> {
    return (await this.#events.list(options)).events;
  }

  /** Events as they happen. Ends with the signal. */
  watchEvents(
    options: { fromRevision?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<OrchestratorEvent> {
    return this.#events.watch(options);
  }

  /**
   * Waits until a service is `ready` (all replicas of the last change), `completed` (all jobs succeeded) or `gone`.
   *
   * @throws HeptadError `TIMEOUT` with what it waits for, `ROLLOUT_FAILED` when the rollout was given up or rolled back.
   */
  waitFor(name: string, what: 'ready' | 'completed' | 'gone', options: WaitOptions = {}): Promise<void> {
    return waitForService(
      { store: this.#options.store, namespace: this.namespace, clock: this.#clock },
      name,
      what,
      options,
      isFinished,
    );
  }

  /** Keeps new replicas off a node (`true`), or lets them on again. `NOT_FOUND`. */
  cordon(node: string, on = true): Promise<NodeResource> {
    return this.#changeNode(node, { unschedulable: on });
  }

  /** Empties a node: its replicas are started elsewhere first, then stopped there. `uncordon` ends it. */
  drain(node: string): Promise<NodeResource> {
    return this.#changeNode(node, { unschedulable: true, draining: true });
  }

  /** Lets a cordoned or drained node take replicas again. */
  uncordon(node: string): Promise<NodeResource> {
    return this.#changeNode(node, { unschedulable: false, draining: false });
  }

  #changeNode(name: string, spec: Partial<NodeResource['spec']>): Promise<NodeResource> {
    return this.#nodes.update(name, (node) => ({ ...node, spec: { ...node.spec, ...spec } }));
  }

  async #setRollout(
    name: string,
    state: 'paused' | 'progressing',
    message: string,
  ): Promise<ServiceResource> {
    return this.#services.updateStatus(name, (current) => {
      this.#refuseRemoved(current, state === 'paused' ? 'pause' : 'resume');
      const rollout = {
        state,
        message,
        progressedAt: this.#clock.now(),
        templateHash: templateHash(current.spec),
      };
      return { ...current.status, rollout };
    });
  }

  #refuseRemoved(service: ServiceResource, doing: string): void {
    if (service.deletedAt === undefined) return;
    throw new HeptadError('REVISION_CONFLICT', `cannot ${doing} ${service.name}: it is being removed`, {
      hint: 'wait until it is gone, then deploy it again',
    });
  }
}
