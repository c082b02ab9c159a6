// NodeAgent: makes one machine run what is bound to it, and says how that goes.

import {
  type ContainerInfo,
  type ContainerResource,
  HeptadError,
  Informer,
  type InformerOptions,
  Resources,
  type RuntimeProbe,
  type ServiceResource,
  systemClock,
  systemRandom,
} from '@heptad/core';
import { EventLog } from '../control/events.ts';
import { CONTAINER_LABEL, NODE_LABEL } from '../plan/identity.ts';
import type { AgentContext } from './context.ts';
import { DEFAULT_HEARTBEAT_MS, DEFAULT_RESYNC_MS, type NodeAgentOptions } from './options.ts';
import { NodeRegistration } from './registration.ts';
import { ContainerWorker } from './worker.ts';

/** How long to wait before listening to the runtime's events again after they broke off. */
const EVENTS_RETRY_MS = 1_000;
/** Services change in bursts when an application is deployed; hosts files are rewritten once for all. */
const HOSTS_GATHER_MS = 100;
/** Grace for what runs here and belongs to nobody. */
const ORPHAN_GRACE_MS = 10_000;

/**
 * The agent of one node.
 *
 * It registers the Node and reports, runs what is bound to the node (re-adopting by label what an agent before it had
 * started, and stopping what nobody wants any more), probes health, writes each container's status and endpoint, and
 * keeps /etc/hosts up to date. It goes on restarting and probing with what it last knew while the state store is away.
 * Closing or killing it stops no container.
 *
 * @example
 * ```ts
 * import type { ContainerRuntime, StateStore } from '@heptad/core';
 * import { NodeAgent } from '@heptad/orchestrator';
 *
 * export async function runAgent(store: StateStore, runtime: ContainerRuntime, signal: AbortSignal): Promise<void> {
 *   const capacity = { cpuMillis: 2000, memoryBytes: 2 ** 31, storageBytes: 2 ** 34, networkMbps: 1000 };
 *   await using agent = new NodeAgent({ store, runtime, node: { name: 'n1', capacity, address: '10.0.0.1' } });
 *   await agent.start();
 *   await Promise.race([agent.closed, new Promise((resolve) => signal.addEventListener('abort', resolve))]);
 * }
 * ```
 */
export class NodeAgent implements AsyncDisposable {
  /** Rejects with `AGENT_FENCED` when a newer agent took the node over; resolves when this one was closed. */
  readonly closed: Promise<void>;
  readonly #options: NodeAgentOptions;
  readonly #workers = new Map<string, ContainerWorker>();
  readonly #stop = new AbortController();
  readonly #events: EventLog;
  readonly #disposables: AsyncDisposable[] = [];
  #registration: NodeRegistration | undefined;
  #context: AgentContext | undefined;
  #hostsPending = false;
  #settle: { resolve: () => void; reject: (error: unknown) => void } = {
    resolve: () => {},
    reject: () => {},
  };
  #loops: Promise<unknown>[] = [];

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    this.#events = new EventLog(
      options.store,
      options.namespace ?? 'default',
      options.random ?? systemRandom,
    );
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever does not look at `closed` must not be killed by its rejection.
    this.closed.catch(() => {});
  }

  /** This agent's generation; 0 before it is registered. */
  get generation(): number {
    return this.#registration?.generation ?? 0;
  }

  /** Resolves once the node is registered for the first time, which may be long after `start` if the store is away. */
  get registered(): Promise<void> {
    return this.#registration?.registered ?? Promise.reject(new Error('the agent was not started'));
  }

  /**
   * Probes and recovers the runtime, then begins to work. Does not wait for the state store: it may be away.
   *
   * @throws HeptadError `RUNTIME_UNAVAILABLE` when the runtime cannot run containers here, with its reasons.
   */
  async start(): Promise<void> {
    if (this.#context !== undefined) return;
    const { store, runtime, node } = this.#options;
    const clock = this.#options.clock ?? systemClock;
    const random = this.#options.random ?? systemRandom;
    const namespace = this.#options.namespace ?? 'default';
    const onError = this.#options.onError ?? (() => {});
    const probe = await runtime.probe();
    if (!probe.ok) {
      throw new HeptadError(
        'RUNTIME_UNAVAILABLE',
        `node ${node.name} cannot run containers with runtime "${runtime.name}": ${probe.reasons.join('; ')}`,
        { hint: 'see: heptad doctor' },
      );
    }
    await runtime.recover();
    const access: InformerOptions = { clock, random, namespace, onError };
    const services = new Informer(store, 'Service', access);
    const containers = new Informer(store, 'Container', access);
    const nodes = new Informer(store, 'Node', access);
    this.#context = this.#makeContext(access, services);
    this.#registration = this.#register(probe);
    this.#disposables.push(services, containers, nodes, this.#registration);
    nodes.onChange((change) => {
      if (change.type === 'put' && change.resource.name === node.name) {
        this.#registration?.observe(change.resource);
      }
    });
    services.onChange(() => this.#onServicesChanged());
    containers.onChange((change) => {
      if (change.type === 'put') this.#onContainer(change.resource);
      else this.#onContainerGone(change.name);
    });
    this.#loops = [this.#followRuntime(), this.#resyncLoop(containers)];
  }

  #makeContext(access: InformerOptions, services: Informer<'Service'>): AgentContext {
    const { store, runtime, node } = this.#options;
    const resources = new Resources(store, 'Service', access);
    return {
      runtime,
      node,
      clock: access.clock ?? systemClock,
      random: access.random ?? systemRandom,
      containers: new Resources(store, 'Container', access),
      endpoints: new Resources(store, 'Endpoint', access),
      hooks: this.#options.services ?? {},
      hosts: this.#options.hosts ?? {},
      services: () => freshServices(resources, services),
      knownServices: () => [...services.items.values()],
      tell: (container, op, because) => this.#tell(container, op, because),
      onError: access.onError ?? (() => {}),
      signal: this.#stop.signal,
    };
  }

  #register(probe: RuntimeProbe): NodeRegistration {
    const { store, runtime, node } = this.#options;
    const { version, capabilities, others, reasons } = probe;
    const registration = new NodeRegistration({
      store,
      namespace: this.#options.namespace ?? 'default',
      node,
      runtime: {
        name: runtime.name,
        isolation: capabilities.isolation,
        reasons: [...reasons],
        ...(version === undefined ? {} : { version }),
        ...(others === undefined || others.length === 0 ? {} : { others: [...others] }),
      },
      clock: this.#options.clock ?? systemClock,
      random: this.#options.random ?? systemRandom,
      heartbeatMs: this.#options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS,
      onReconnect: () => this.#resyncAll(),
      onError: this.#options.onError ?? (() => {}),
    });
    registration.fenced.addEventListener('abort', () => this.#onFenced(), { once: true });
    return registration;
  }

  /** Stops working. Containers run on; the next agent of the node re-adopts them. */
  async close(): Promise<void> {
    await this.#shutDown();
    this.#settle.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #onFenced(): void {
    const reason: unknown = this.#registration?.fenced.reason;
    this.#settle.reject(reason);
    this.#options.onError?.(reason);
    void this.#shutDown();
  }

  async #shutDown(): Promise<void> {
    this.#stop.abort(new Error('the agent was closed'));
    await Promise.all(this.#disposables.splice(0).map((one) => one[Symbol.asyncDispose]()));
    await Promise.all([...this.#workers.values()].map((worker) => worker.dispose()));
    this.#workers.clear();
    await Promise.all(this.#loops);
  }

  #onContainer(container: ContainerResource): void {
    const context = this.#context;
    if (context === undefined || this.#stop.signal.aborted) return;
    const { name } = container;
    const existing = this.#workers.get(name);
    if (container.spec.node !== context.node.name) {
      if (existing !== undefined) this.#onContainerGone(name);
      return;
    }
    if (existing?.id === container.id) {
      existing.update(container);
      return;
    }
    // The same name again, for another container: what the old one left is an orphan now.
    if (existing !== undefined) void existing.dispose();
    const worker = new ContainerWorker(context, container);
    this.#workers.set(name, worker);
    worker.turn();
  }

  #onContainerGone(name: string): void {
    const worker = this.#workers.get(name);
    this.#workers.delete(name);
    void worker?.dispose();
  }

  #onServicesChanged(): void {
    if (this.#hostsPending) return;
    this.#hostsPending = true;
    this.#context?.clock.timer(
      HOSTS_GATHER_MS,
      () => {
        this.#hostsPending = false;
        for (const worker of this.#workers.values()) worker.turn();
      },
      { unref: true },
    );
  }

  #resyncAll(): void {
    for (const worker of this.#workers.values()) worker.resync();
  }

  /** Exits are learnt from the runtime's own events, at once. */
  async #followRuntime(): Promise<void> {
    const context = this.#context;
    if (context === undefined) return;
    const { runtime, clock, signal, onError } = context;
    while (!signal.aborted) {
      try {
        for await (const event of runtime.events({ signal })) {
          const id = event.labels[CONTAINER_LABEL];
          for (const worker of this.#workers.values()) {
            if (worker.id === id) worker.turn();
          }
        }
      } catch (error) {
        if (!signal.aborted) onError(error);
      }
      await clock.sleep(EVENTS_RETRY_MS, signal).catch(() => {});
      // What happened while nobody listened.
      for (const worker of this.#workers.values()) worker.turn();
    }
  }

  async #resyncLoop(containers: Informer<'Container'>): Promise<void> {
    const context = this.#context;
    if (context === undefined) return;
    const { clock, signal, onError } = context;
    await containers.ready.catch(() => {});
    while (!signal.aborted) {
      try {
        await this.#stopOrphans(containers);
        for (const worker of this.#workers.values()) worker.turn();
      } catch (error) {
        if (!signal.aborted) onError(error);
      }
      await clock.sleep(this.#options.resyncMs ?? DEFAULT_RESYNC_MS, signal).catch(() => {});
    }
  }

  /** What runs here under our label and is no resource bound to us was forgotten by an agent that died. */
  async #stopOrphans(containers: Informer<'Container'>): Promise<void> {
    const context = this.#context;
    if (context === undefined) return;
    const { runtime, node, signal } = context;
    const running = await runtime.list({ labels: { [NODE_LABEL]: node.name } });
    const wanted = new Set(
      [...containers.items.values()]
        .filter((container) => container.spec.node === node.name)
        .map((container) => container.id),
    );
    const orphans = running.filter((info) => {
      const id = info.labels[CONTAINER_LABEL];
      return id !== undefined && !wanted.has(id) && info.state !== 'removed';
    });
    signal.throwIfAborted();
    await Promise.all(orphans.map((info) => this.#stopOrphan(context, info)));
  }

  async #stopOrphan({ runtime, node, signal }: AgentContext, info: ContainerInfo): Promise<void> {
    if (info.state === 'running' || info.state === 'paused') {
      await runtime.stop(info.id, { graceMs: ORPHAN_GRACE_MS, signal });
    }
    await runtime.remove(info.id, { force: true, volumes: true });
    const because = `${info.name} ran on ${node.name} and no service wants it`;
    this.#record(`Container/${this.#options.namespace ?? 'default'}/${info.name}`, 'remove-orphan', because);
  }

  #tell(container: ContainerResource, op: string, because: string): void {
    this.#record(`Container/${container.namespace}/${container.name}`, op, because);
  }

  #record(object: string, op: string, because: string): void {
    const context = this.#context;
    if (context === undefined) return;
    const event = { at: context.clock.now(), object, op, because, source: `agent/${context.node.name}` };
    // An event that cannot be written is lost: the status says the same, and it is kept until it can be.
    this.#events.write([event]).catch(() => {});
  }
}

async function freshServices(
  resources: Resources<'Service'>,
  informer: Informer<'Service'>,
): Promise<readonly ServiceResource[]> {
  try {
    return (await resources.list()).items;
  } catch {
    return [...informer.items.values()];
  }
}
