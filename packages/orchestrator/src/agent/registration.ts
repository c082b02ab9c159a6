// A node's registration: announces the machine, reports that it lives, and learns when a newer agent took over.

import {
  Backoff,
  type Clock,
  type Condition,
  HeptadError,
  isHeptadError,
  type NodeResource,
  type Random,
  Resources,
  type StateStore,
} from '@heptad/core';
import type { AgentNode } from './options.ts';

/** Options of {@link NodeRegistration}. */
export interface NodeRegistrationOptions {
  readonly store: StateStore;
  readonly namespace: string;
  readonly node: AgentNode;
  readonly runtime: NonNullable<NodeResource['status']['runtime']>;
  readonly clock: Clock;
  readonly random: Random;
  readonly heartbeatMs: number;
  /** The store answers again after it did not. */
  readonly onReconnect: () => void;
  readonly onError: (error: unknown) => void;
}

const REGISTER_WAIT = { firstMs: 100, longestMs: 5_000 };

/**
 * Keeps the Node resource alive. Its generation fences: each agent that starts raises it, and one that finds a higher
 * one than its own stops at once, so that two agents never drive one machine for longer than a heartbeat.
 */
export class NodeRegistration implements AsyncDisposable {
  /** Aborts when a newer agent of this node has registered. */
  readonly fenced: AbortSignal;
  /** Resolves after the first successful registration. */
  readonly registered: Promise<void>;
  readonly #options: NodeRegistrationOptions;
  readonly #nodes: Resources<'Node'>;
  readonly #fenced = new AbortController();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #becomeRegistered: () => void = () => {};
  #generation = 0;

  constructor(options: NodeRegistrationOptions) {
    this.#options = options;
    const { clock, random, namespace } = options;
    this.#nodes = new Resources(options.store, 'Node', { clock, random, namespace });
    this.fenced = this.#fenced.signal;
    this.registered = new Promise((resolve) => {
      this.#becomeRegistered = resolve;
    });
    this.#running = this.#run();
  }

  /** This agent's generation; 0 before it is registered. */
  get generation(): number {
    return this.#generation;
  }

  /** What the watch says about the node: a higher generation fences without waiting for the next heartbeat. */
  observe(node: NodeResource): void {
    if (this.#generation > 0 && node.status.agentGeneration > this.#generation) {
      this.#fence(node.status.agentGeneration);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the agent was stopped'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, heartbeatMs, onError, onReconnect } = this.#options;
    const signal = AbortSignal.any([this.#stop.signal, this.#fenced.signal]);
    const backoff = new Backoff(REGISTER_WAIT, random);
    let failing = false;
    while (!signal.aborted) {
      try {
        if (this.#generation === 0) await this.#register();
        else await this.#beat();
        if (failing) onReconnect();
        failing = false;
        backoff.reset();
        await clock.sleep(heartbeatMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        failing = true;
        onError(error);
        // Never slower than a heartbeat: each one missed is nearer to being declared lost.
        await clock.sleep(Math.min(heartbeatMs, backoff.nextMs()), signal).catch(() => {});
      }
    }
  }

  async #register(): Promise<void> {
    const { node, runtime, clock } = this.#options;
    const now = clock.now();
    const { name, capacity, address, zone } = node;
    const labels = { ...node.labels };
    const offered = { capacity, address, ...(zone === undefined ? {} : { zone }) };
    const ready = readyCondition(now, undefined);
    const existing = await this.#nodes.find(name);
    if (existing === undefined) {
      const created = await this.#nodes.apply(
        {
          name,
          labels,
          spec: offered,
          status: {
            status: 'Ready',
            allocated: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 },
            heartbeatAt: now,
            agentGeneration: 1,
            runtime,
            conditions: [ready],
          },
        },
        { ifRevision: 0 },
      );
      this.#generation = created.status.agentGeneration;
    } else {
      // Cordon and drain belong to people and stay as they are; so do labels people added.
      const updated = await this.#nodes.update(name, (current) => ({
        ...current,
        labels: { ...current.labels, ...labels },
        spec: { ...current.spec, ...offered },
        status: {
          ...current.status,
          status: 'Ready',
          heartbeatAt: now,
          agentGeneration: current.status.agentGeneration + 1,
          runtime,
          conditions: withReady(current, now),
        },
      }));
      this.#generation = updated.status.agentGeneration;
    }
    this.#becomeRegistered();
  }

  async #beat(): Promise<void> {
    const { node, clock } = this.#options;
    try {
      await this.#nodes.updateStatus(node.name, (current) => {
        if (current.status.agentGeneration !== this.#generation) {
          throw this.#fence(current.status.agentGeneration);
        }
        const now = clock.now();
        return { ...current.status, status: 'Ready', heartbeatAt: now, conditions: withReady(current, now) };
      });
    } catch (error) {
      if (!isHeptadError(error, 'NOT_FOUND')) throw error;
      // Somebody removed the node while its agent runs: it joins again.
      this.#generation = 0;
      await this.#register();
    }
  }

  #fence(found: number): HeptadError<'AGENT_FENCED'> {
    const error = new HeptadError(
      'AGENT_FENCED',
      `agent generation ${this.#generation} of node ${this.#options.node.name} stops: generation ${found} has taken over`,
      { hint: 'run one agent per node; this one ends, its containers go on under the new one' },
    );
    this.#fenced.abort(error);
    return error;
  }
}

function readyCondition(now: number, before: Condition | undefined): Condition {
  return {
    type: 'Ready',
    status: 'True',
    reason: 'AgentReports',
    message: 'its agent reports',
    since: before?.status === 'True' ? before.since : now,
  };
}

function withReady(node: NodeResource, now: number): Condition[] {
  const before = node.status.conditions.find((condition) => condition.type === 'Ready');
  return [
    ...node.status.conditions.filter((condition) => condition.type !== 'Ready'),
    readyCondition(now, before),
  ];
}
