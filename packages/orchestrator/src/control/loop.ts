// The control loop: watch, plan, execute, and sleep until something changes or time alone changes the plan.

import { Backoff, type Clock, type Random, type StateStore } from '@heptad/core';
import { nextWake } from '../plan/next-wake.ts';
import type { HeartbeatLimits } from '../plan/nodes.ts';
import type { OrchestrationPlanner } from '../plan/planner.ts';
import type { OrchestratorStep } from '../plan/steps.ts';
import { ClusterCache } from './cluster-cache.ts';
import type { EventLog } from './events.ts';
import { Executor } from './executor.ts';

/** Options of {@link ControlLoop}. */
export interface ControlLoopOptions {
  readonly store: StateStore;
  readonly namespace: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly planner: OrchestrationPlanner;
  readonly limits: HeartbeatLimits;
  readonly events: EventLog;
  /** Hears what was carried out, after it was. */
  readonly onSteps?: (steps: readonly OrchestratorStep[]) => void;
  readonly onError: (error: unknown) => void;
}

/** Level triggered: even if every change were missed, the plan is made anew this often. */
const RESYNC_MS = 5_000;
/** Changes come in bursts (a dozen containers start): they are planned for together. */
const GATHER_MS = 20;
/** How long to wait for our own writes to come back through the watch before planning on what is known. */
const ECHO_MS = 2_000;
const RETRY_WAIT = { firstMs: 50, longestMs: 5_000 };

/** See the file's first line. Safe to run in several processes at once; see {@link Executor}. */
export class ControlLoop implements AsyncDisposable {
  readonly #options: ControlLoopOptions;
  readonly #cache: ClusterCache;
  readonly #executor: Executor;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #dirty = true;
  #wake: (() => void) | undefined;

  constructor(options: ControlLoopOptions) {
    this.#options = options;
    const { store, namespace, clock, random, onError, events } = options;
    const onChange = (): void => {
      this.#dirty = true;
      this.#wake?.();
    };
    this.#cache = new ClusterCache({ store, namespace, clock, random, onChange, onError });
    this.#executor = new Executor({ store, clock, events });
    this.#running = this.#run();
  }

  /** Resolves once the state has been read for the first time. */
  get ready(): Promise<void> {
    return this.#cache.ready;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the control loop was stopped'));
    this.#wake?.();
    await this.#running;
    await this.#cache[Symbol.asyncDispose]();
  }

  async #run(): Promise<void> {
    const { clock, random, onError } = this.#options;
    const { signal } = this.#stop;
    const backoff = new Backoff(RETRY_WAIT, random);
    await this.#cache.ready.catch(() => {});
    while (!signal.aborted) {
      try {
        this.#dirty = false;
        const clean = await this.#once(signal);
        if (clean) {
          backoff.reset();
          await this.#idle(signal);
        } else {
          await clock.sleep(backoff.nextMs(), signal);
        }
      } catch (error) {
        if (signal.aborted) return;
        onError(error);
        await clock.sleep(backoff.nextMs(), signal).catch(() => {});
      }
    }
  }

  /** One turn. False when another writer made part of the plan void, so that it must be made again. */
  async #once(signal: AbortSignal): Promise<boolean> {
    const { planner, clock, onSteps } = this.#options;
    const steps = planner.plan(this.#cache, clock.now());
    if (steps.length === 0) return true;
    const result = await this.#executor.execute(this.#cache, steps);
    if (result.done.length > 0) onSteps?.(result.done);
    if (result.revision > 0) {
      this.#dirty = true;
      await this.#cache.reached(result.revision, ECHO_MS, signal);
    }
    return result.void.length === 0;
  }

  async #idle(signal: AbortSignal): Promise<void> {
    const { clock, limits } = this.#options;
    const now = clock.now();
    const wakeAt = nextWake(this.#cache, now, limits) ?? now + RESYNC_MS;
    const idle = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#dirty) resolve();
    });
    const sleep = clock.sleep(
      Math.min(RESYNC_MS, Math.max(0, wakeAt - now)),
      AbortSignal.any([idle.signal, signal]),
    );
    await Promise.race([woken, sleep.catch(() => {})]);
    idle.abort();
    this.#wake = undefined;
    if (!signal.aborted) await clock.sleep(GATHER_MS, signal);
  }
}
