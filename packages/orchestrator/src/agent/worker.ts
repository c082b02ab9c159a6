// The worker of one container: brings the runtime to what its Container resource wants, and tells what it sees.

import {
  Backoff,
  type ContainerInfo,
  type ContainerResource,
  type ContainerSpec,
  errorMessage,
  isHeptadError,
  type Timer,
} from '@heptad/core';
import { AGENT_FINALIZER, CONTAINER_LABEL, canonicalJson } from '../plan/identity.ts';
import { isFinished } from '../plan/view.ts';
import { containerSpec } from './container-spec.ts';
import type { AgentContext } from './context.ts';
import { HealthMonitor, type HealthState } from './health.ts';
import { applyLimits, HostsFile } from './live-changes.ts';
import { type Observed, observedFrom, seeEnd, seeReady, seeRunning } from './observed.ts';
import { ContainerReporter } from './reporter.ts';

const RETRY_WAIT = { firstMs: 200, longestMs: 5_000 };
/** Exit code shown for a container that could not be created or started; shells use it for "cannot execute". */
const CANNOT_START = 126;

/**
 * One container's worker. All its work is done one turn at a time: a turn compares what is wanted with what the runtime
 * says and takes the next action; events, timers and changes only ask for another turn. So it does not matter in which
 * order they come, or whether some are lost.
 */
export class ContainerWorker {
  readonly id: string;
  #resource: ContainerResource;
  readonly #context: AgentContext;
  readonly #observed: Observed;
  readonly #hosts: HostsFile;
  readonly #reporter: ContainerReporter;
  readonly #retry: Backoff;
  #monitor: { id: string; check: string; monitor: HealthMonitor } | undefined;
  #health: HealthState | undefined;
  #killedForHealth = false;
  #timer: Timer | undefined;
  #wakeAt = 0;
  #asked = false;
  #busy: Promise<void> | undefined;
  #gone = false;

  constructor(context: AgentContext, resource: ContainerResource) {
    this.id = resource.id;
    this.#context = context;
    this.#resource = resource;
    this.#observed = observedFrom(resource.status);
    this.#reporter = new ContainerReporter(context, this.id, (ms) => this.#wakeAfter(ms));
    this.#hosts = new HostsFile(context);
    this.#retry = new Backoff(RETRY_WAIT, context.random);
  }

  /** The resource changed. */
  update(resource: ContainerResource): void {
    const before = this.#resource;
    const respecified = resource.generation !== before.generation || resource.deletedAt !== before.deletedAt;
    this.#resource = resource;
    if (respecified) this.turn();
  }

  /** Doubts what was published (after a loss of the store) and looks again. */
  resync(): void {
    this.#reporter.doubt();
    this.turn();
  }

  /** Asks for a turn. */
  turn(): void {
    if (this.#gone || this.#context.signal.aborted) return;
    this.#asked = true;
    this.#busy ??= this.#run();
  }

  /** Stops working; the container itself is left as it is. */
  async dispose(): Promise<void> {
    this.#gone = true;
    this.#timer?.cancel();
    this.#stopMonitor();
    await this.#busy;
  }

  async #run(): Promise<void> {
    try {
      while (this.#asked && !this.#gone && !this.#context.signal.aborted) {
        this.#asked = false;
        try {
          await this.#reconcile();
          this.#retry.reset();
        } catch (error) {
          if (this.#context.signal.aborted) return;
          this.#context.onError(error);
          this.#wakeAfter(this.#retry.nextMs());
        }
      }
    } finally {
      this.#busy = undefined;
    }
  }

  /** Asks for a turn later. Of several wishes the earliest counts: each turn wishes anew what it still waits for. */
  #wakeAfter(ms: number): void {
    const { clock } = this.#context;
    const at = clock.monotonicMs() + Math.max(0, ms);
    if (this.#timer !== undefined && this.#wakeAt <= at) return;
    this.#timer?.cancel();
    this.#wakeAt = at;
    const ring = (): void => {
      this.#timer = undefined;
      this.turn();
    };
    this.#timer = clock.timer(Math.max(0, ms), ring, { unref: true });
  }

  async #reconcile(): Promise<void> {
    const { deletedAt, spec } = this.#resource;
    const info = await this.#inspect();
    if (deletedAt !== undefined || spec.desired === 'stopped') {
      await this.#tearDown(info);
      return;
    }
    if (info === undefined) await this.#startNew();
    else if (info.state === 'running') await this.#keepRunning(info);
    else if (info.state === 'stopped') await this.#takeExit(info);
    else if (info.state === 'paused') await this.#seePaused(info);
    else if (info.state === 'created') await this.#startCreated(info);
    await this.#reporter.publish(this.#resource, this.#observed);
  }

  /** The runtime's container of this resource, found by label: it may have been made by an agent before us. */
  async #inspect(): Promise<ContainerInfo | undefined> {
    const { runtime } = this.#context;
    const found = await runtime.list({ labels: { [CONTAINER_LABEL]: this.id } });
    const alive = found.filter((info) => info.state !== 'removed');
    const [first, ...surplus] = alive.sort((a, b) => b.createdAt - a.createdAt);
    // An agent that died between making a container and removing its predecessor leaves two.
    for (const info of surplus) await runtime.remove(info.id, { force: true, volumes: true });
    return first;
  }

  async #startNew(): Promise<void> {
    const { clock, runtime, node } = this.#context;
    const observed = this.#observed;
    this.#stopMonitor();
    const finished = isFinished({ ...this.#resource, status: { ...this.#resource.status, ...observed } });
    if (finished) return;
    const wait = (observed.restartAt ?? 0) - clock.now();
    if (wait > 0) {
      this.#wakeAfter(wait);
      return;
    }
    observed.status = 'Pending';
    observed.message = `starting ${this.#resource.spec.template.image}`;
    await this.#reporter.publish(this.#resource, this.#observed);
    const spec = await this.#prepare();
    this.#context.signal.throwIfAborted();
    try {
      const id = await runtime.create(spec);
      observed.runtimeId = id;
      await runtime.start(id);
      this.#context.tell(this.#resource, 'start', `${this.#resource.name} was started on ${node.name}`);
      this.turn();
    } catch (error) {
      this.#context.signal.throwIfAborted();
      this.#cannotStart(error);
    }
  }

  /**
   * What the runtime shall create. A hook of the platform that fails is no failure of the container: it is tried again,
   * but no restart is counted, and no rollout is blamed for it.
   */
  async #prepare(): Promise<ContainerSpec> {
    const { node, hooks, hosts } = this.#context;
    try {
      const services = await this.#context.services();
      const spec = await containerSpec(this.#resource, node.name, services, hosts, hooks);
      this.#hosts.created(spec);
      return spec;
    } catch (error) {
      this.#observed.message = `waits for the platform: ${errorMessage(error)}`;
      await this.#reporter.publish(this.#resource, this.#observed);
      throw error;
    }
  }

  async #startCreated(info: ContainerInfo): Promise<void> {
    try {
      await this.#context.runtime.start(info.id);
      this.turn();
    } catch (error) {
      this.#context.signal.throwIfAborted();
      // Made but never started: it is of no use to anybody, and the next try makes a new one.
      await this.#context.runtime.remove(info.id, { force: true, volumes: true });
      this.#cannotStart(error);
    }
  }

  #cannotStart(error: unknown): void {
    const { clock } = this.#context;
    const hint = isHeptadError(error) && error.hint !== undefined ? ` (${error.hint})` : '';
    const what = `could not start: ${errorMessage(error)}${hint}`;
    this.#end({ exitCode: CANNOT_START, ranMs: 0, what, forced: true }, clock.now());
  }

  async #keepRunning(info: ContainerInfo): Promise<void> {
    const { node, clock } = this.#context;
    const observed = this.#observed;
    const fresh = observed.runtimeId !== info.id || observed.status !== 'Running';
    seeRunning(observed, info, node.address);
    await applyLimits(this.#context, this.#resource, info);
    await this.#hosts.apply(info);
    const check = this.#resource.spec.template.healthCheck;
    if (check === undefined) {
      this.#stopMonitor();
      seeReady(observed, true, clock.now());
      observed.message = 'running';
    } else {
      this.#watchHealth(info, fresh);
      await this.#actOnHealth(info);
    }
    await this.#reporter.syncEndpoint(this.#resource, this.#observed);
  }

  #watchHealth(info: ContainerInfo, fresh: boolean): void {
    const { clock, runtime } = this.#context;
    const check = this.#resource.spec.template.healthCheck;
    if (check === undefined) return;
    const text = canonicalJson(check);
    if (this.#monitor?.id === info.id && this.#monitor.check === text) return;
    const wasHealthy = this.#observed.ready && !fresh;
    this.#stopMonitor();
    if (!wasHealthy) this.#observed.message = 'running, waits for its first successful health check';
    const monitor = new HealthMonitor({
      check,
      target: { runtime, runtimeId: info.id, address: this.#observed.address, clock },
      clock,
      ranMs: info.startedAt === undefined ? 0 : Math.max(0, clock.now() - info.startedAt),
      wasHealthy,
      onChange: (state) => {
        this.#health = state;
        this.turn();
      },
    });
    this.#health = monitor.state;
    this.#monitor = { id: info.id, check: text, monitor };
  }

  async #actOnHealth(info: ContainerInfo): Promise<void> {
    const health = this.#health;
    if (health === undefined) return;
    const { clock, runtime } = this.#context;
    const { template } = this.#resource.spec;
    const before = this.#observed.ready;
    seeReady(this.#observed, health.healthy, clock.now());
    this.#observed.message = health.healthy ? 'running and healthy' : `not ready: ${health.message}`;
    if (health.healthy !== before) {
      this.#context.tell(this.#resource, health.healthy ? 'ready' : 'unready', health.message);
    }
    // One that is on its way out is not worth a restart.
    const leaving = this.#resource.spec.drainUntil !== undefined;
    if (!health.failed || template.healthCheck?.onFailure !== 'restart' || leaving) return;
    // Out of traffic before it is stopped: whoever still gets an answer shall get it.
    await this.#reporter.syncEndpoint(this.#resource, this.#observed);
    await this.#reporter.publish(this.#resource, this.#observed);
    this.#killedForHealth = true;
    this.#stopMonitor();
    this.#context.tell(this.#resource, 'restart', `it is unhealthy: ${health.message}`);
    await runtime.stop(info.id, { graceMs: template.stopGraceMs, signal: this.#context.signal });
    this.turn();
  }

  async #seePaused(info: ContainerInfo): Promise<void> {
    this.#stopMonitor();
    this.#observed.runtimeId = info.id;
    this.#observed.status = 'Paused';
    this.#observed.message = 'paused';
    seeReady(this.#observed, false, this.#context.clock.now());
    await this.#reporter.syncEndpoint(this.#resource, this.#observed);
  }

  /** It ended. Its remains are kept through the back-off, so that its last words can be read, and then removed. */
  async #takeExit(info: ContainerInfo): Promise<void> {
    const { clock, runtime } = this.#context;
    const observed = this.#observed;
    const now = clock.now();
    this.#stopMonitor();
    const seenAlready = observed.status !== 'Running' && observed.runtimeId === info.id;
    const finished = isFinished({ ...this.#resource, status: { ...this.#resource.status, ...observed } });
    if (!seenAlready || (!finished && observed.restartAt === undefined)) {
      observed.runtimeId = info.id;
      const exitCode = info.exit?.exitCode ?? CANNOT_START;
      const finishedAt = info.exit?.finishedAt ?? now;
      const ranMs = info.startedAt === undefined ? 0 : Math.max(0, finishedAt - info.startedAt);
      const forced = this.#killedForHealth;
      this.#killedForHealth = false;
      const how =
        info.exit?.oomKilled === true
          ? 'ran out of memory and was killed'
          : `ended with exit code ${exitCode}`;
      const what = forced
        ? `was unhealthy (${this.#health?.message ?? 'health check failed'}) and stopped`
        : how;
      this.#end({ exitCode, ranMs, what, forced }, now);
      await this.#reporter.syncEndpoint(this.#resource, this.#observed);
      await this.#reporter.publish(this.#resource, this.#observed);
    }
    if (observed.restartAt === undefined || this.#resource.spec.drainUntil !== undefined) return;
    if (observed.restartAt > now) {
      this.#wakeAfter(observed.restartAt - now);
      return;
    }
    await runtime.remove(info.id, { force: true, volumes: true });
    this.turn();
  }

  #end(ending: Parameters<typeof seeEnd>[1], now: number): void {
    seeEnd(this.#observed, ending, this.#resource.spec.template.restart, now);
    this.#context.tell(this.#resource, 'end', this.#observed.message);
    if (this.#observed.restartAt !== undefined) this.#wakeAfter(this.#observed.restartAt - now);
  }

  /** Out of traffic, stopped with grace, removed; and when the resource is to go, its finalizer. */
  async #tearDown(info: ContainerInfo | undefined): Promise<void> {
    const { runtime, clock, containers, signal } = this.#context;
    const { template } = this.#resource.spec;
    this.#stopMonitor();
    await this.#reporter.removeEndpoint(this.#resource);
    if (info !== undefined) {
      if (info.state === 'running' || info.state === 'paused') {
        await runtime.stop(info.id, { graceMs: template.stopGraceMs, signal });
      }
      await runtime.remove(info.id, { force: true, volumes: true });
      this.#context.tell(this.#resource, 'stop', `${this.#resource.name} was stopped and removed`);
    }
    if (this.#resource.deletedAt !== undefined) {
      await containers.removeFinalizer(this.#resource.name, AGENT_FINALIZER);
      return;
    }
    seeReady(this.#observed, false, clock.now());
    this.#observed.status = 'Succeeded';
    this.#observed.message = 'stopped as wanted';
    this.#observed.runtimeId = undefined;
    this.#observed.restartAt = undefined;
    await this.#reporter.publish(this.#resource, this.#observed);
  }

  #stopMonitor(): void {
    this.#monitor?.monitor[Symbol.dispose]();
    this.#monitor = undefined;
  }
}
