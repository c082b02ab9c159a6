// Chaos experiments against the services of this platform: targets are services, the probe is a user's request.

import {
  type Clock,
  errorMessage,
  HeptadError,
  type Resources,
  type ServiceResource,
  type StateStore,
} from '@heptad/core';
import { ChaosController, type ChaosTarget, type ExperimentReport, renderReportHtml } from '@heptad/dr/chaos';
import { request } from 'undici';
import type { AgentDirectory } from './agents.ts';

/** Where an experiment stands. */
export interface ExperimentState {
  readonly id: string;
  readonly name: string;
  readonly phase: 'running' | 'completed' | 'failed' | 'aborted';
  readonly verdict?: ExperimentReport['verdict'];
  readonly score?: number;
  readonly message: string;
}

/** What chaos needs of the server. */
export interface ChaosServiceOptions {
  readonly store: StateStore;
  readonly clock: Clock;
  readonly services: Resources<'Service'>;
  readonly containers: Resources<'Container'>;
  readonly agents: AgentDirectory;
  /** Reads a metric by PromQL. */
  readonly readMetric: (expression: string) => Promise<number>;
}

/** States kept of experiments that ended in this process; reports stay in the store. */
const MAX_STATES = 100;
const PROBE_TIMEOUT_MS = 2_000;

/** Runs experiments and keeps their states and reports. */
export class ChaosService implements AsyncDisposable {
  readonly #options: ChaosServiceOptions;
  readonly #controller: ChaosController;
  readonly #states = new Map<string, ExperimentState>();

  constructor(options: ChaosServiceOptions) {
    this.#options = options;
    this.#controller = new ChaosController({
      store: options.store,
      clock: options.clock,
      targets: { resolve: (name) => this.#resolve(name) },
      probe: (signal) => this.#probe(signal),
      metrics: { read: (source) => options.readMetric(source) },
    });
  }

  /** Starts an experiment from its YAML. */
  start(source: string): ExperimentState {
    // The controller tells of its first steps before it answers which experiment it is.
    let id: string | undefined;
    let message = 'looking at the steady state';
    const running = this.#controller.start(source, {
      onProgress: (entry) => {
        message = entry.message;
        if (id !== undefined) this.#note(id, { message });
      },
    });
    id = running.id;
    this.#remember({ id, name: running.name, phase: 'running', message });
    running.done.then(
      ({ status, verdict, score, because }) =>
        this.#note(running.id, {
          phase: status,
          verdict,
          message: because,
          ...(score === null ? {} : { score }),
        }),
      // Its report could not be written, say: the server goes on, and who looks sees why.
      (error: unknown) => this.#note(running.id, { phase: 'failed', message: errorMessage(error) }),
    );
    return this.get(running.id);
  }

  #remember(state: ExperimentState): void {
    this.#states.set(state.id, state);
    for (const oldest of this.#states.keys()) {
      if (this.#states.size <= MAX_STATES) break;
      this.#states.delete(oldest);
    }
  }

  #note(id: string, change: Partial<ExperimentState>): void {
    const state = this.#states.get(id);
    if (state !== undefined) this.#states.set(id, { ...state, ...change });
  }

  /** Newest last. */
  list(): ExperimentState[] {
    return [...this.#states.values()];
  }

  /** Where an experiment stands. `NOT_FOUND`. */
  get(id: string): ExperimentState {
    const state = this.#states.get(id);
    if (state === undefined)
      throw new HeptadError('NOT_FOUND', `there is no experiment "${id}" since the server started`, {
        hint: 'its report may still be there: heptad chaos report ID',
      });
    return state;
  }

  /** Removes every fault now. */
  async abort(): Promise<{ message: string }> {
    await this.#controller.abort();
    return { message: 'no fault is left' };
  }

  /** A report in both forms. */
  async report(id: string): Promise<{ json: ExperimentReport; html: string }> {
    const json = await this.#controller.report(id);
    return { json, html: renderReportHtml(json) };
  }

  /** A service's running replicas, with the process ids their agent knows. */
  async #resolve(name: string): Promise<ChaosTarget> {
    const service = await this.#options.services.find(name);
    if (service === undefined)
      throw new HeptadError('TARGET_NOT_FOUND', `there is no service "${name}"`, { hint: 'heptad services' });
    const { items } = await this.#options.containers.list();
    const running = items.filter((one) => one.spec.service === name && one.status.status === 'Running');
    const instances = await Promise.all(
      running.map(async (container) => {
        const { pid, id, address } = await this.#options.agents.inspect(container);
        return {
          id,
          ready: container.status.ready,
          ports: service.spec.ports.map((port) => port.port),
          ...(pid === undefined ? {} : { pid }),
          ...(address === undefined ? {} : { address }),
        };
      }),
    );
    return { name, instances, peers: await this.#peers(service) };
  }

  /** Where the service's own requests go: the virtual addresses of what it depends on. */
  async #peers(service: ServiceResource): Promise<{ address: string; port: number }[]> {
    const peers = await Promise.all(
      service.spec.dependencies.map((one) => this.#options.services.find(one.service)),
    );
    return peers.flatMap((peer) => {
      const address = peer?.status.virtualAddress;
      return address === undefined
        ? []
        : (peer?.spec.ports ?? []).map((port) => ({ address, port: port.port }));
    });
  }

  /** A user's look at the platform: every published HTTP port answers without a server error. */
  async #probe(signal: AbortSignal): Promise<{ ok: boolean; message?: string }> {
    const { items } = await this.#options.services.list();
    const published = items.flatMap((service) =>
      service.spec.trafficMode === 'http'
        ? service.spec.ports
            .filter((port) => port.published !== undefined)
            .map((port) => ({ service: service.name, port }))
        : [],
    );
    if (published.length === 0)
      return { ok: false, message: 'no service publishes an HTTP port, so nobody can use anything' };
    for (const { service, port } of published) {
      const host =
        port.publishedAddress === undefined || port.publishedAddress === '0.0.0.0'
          ? '127.0.0.1'
          : port.publishedAddress;
      const answer = await request(`http://${host}:${port.published}/`, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
      });
      await answer.body.dump();
      if (answer.statusCode >= 500) return { ok: false, message: `${service} answered ${answer.statusCode}` };
    }
    return { ok: true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#controller[Symbol.asyncDispose]();
  }
}
