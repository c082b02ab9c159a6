// The pod-failure fault: kill instances of a target without warning, and prove that they are gone.

import { HeptadError } from '@heptad/core';
import type { PodFailureParams } from './experiment.ts';
import { processStart } from './latency/nft.ts';
import type { ActiveFault, ChaosInstance, InjectionRequest, Injector, Proof } from './types.ts';

/** Time an instance may take to vanish after SIGKILL: the kernel tears down its memory and files first. */
const VANISH_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

/** How to kill an instance and tell that this very one is gone; a container runtime can stand behind it. */
export interface InstanceKiller {
  /** Kills it at once, with no chance to clean up. */
  kill(instance: ChaosInstance): Promise<void>;
  /** A name for this very run of the instance (not of its replacement), or undefined when it does not run. */
  identity(instance: ChaosInstance): Promise<string | undefined>;
}

/** Kills by process id with SIGKILL; a run is named by pid and start time. Error: `INJECTION_FAILED` without a pid. */
export const processKiller: InstanceKiller = {
  async kill(instance) {
    if (instance.pid === undefined) {
      throw new HeptadError('INJECTION_FAILED', `cannot kill ${instance.id}: its process id is not known`);
    }
    process.kill(instance.pid, 'SIGKILL');
  },
  async identity(instance) {
    if (instance.pid === undefined) return undefined;
    const start = await processStart(instance.pid);
    return start === undefined ? undefined : `${instance.pid}@${start}`;
  },
};

/** Kills instances. There is nothing to take back: bringing them back is the job of the system under test. */
export class PodFailureInjector implements Injector {
  readonly type = 'pod-failure';
  readonly #killer: InstanceKiller;

  constructor(options: { readonly killer?: InstanceKiller } = {}) {
    this.#killer = options.killer ?? processKiller;
  }

  async plan(): Promise<Readonly<Record<string, unknown>>> {
    return {};
  }

  async inject(request: InjectionRequest): Promise<ActiveFault> {
    const fault = new PodFailure(request, request.params as unknown as PodFailureParams, this.#killer);
    await fault.strike();
    return fault;
  }

  async undo(): Promise<string> {
    return 'nothing to take back: whoever runs the target starts it again';
  }
}

interface Victim {
  readonly instance: ChaosInstance;
  readonly identity: string;
  readonly killedMs: number;
  goneMs?: number;
}

class PodFailure implements ActiveFault {
  readonly #request: InjectionRequest;
  readonly #params: PodFailureParams;
  readonly #killer: InstanceKiller;
  readonly #victims: Victim[] = [];
  readonly #wholeCount: number;
  #lastStrikeMs = 0;
  #recoveredAfterMs: number | undefined;

  constructor(request: InjectionRequest, params: PodFailureParams, killer: InstanceKiller) {
    this.#request = request;
    this.#params = params;
    this.#killer = killer;
    this.#wholeCount = running(request.target.instances).length;
  }

  async strike(): Promise<void> {
    const target = await this.#request.resolve(this.#request.signal);
    const candidates = running(target.instances);
    if (candidates.length === 0 && this.#victims.length === 0) {
      throw new HeptadError('INJECTION_FAILED', `cannot kill instances of ${target.name}: none is running`);
    }
    const { count } = this.#params;
    const wanted =
      'share' in count ? Math.max(1, Math.round(candidates.length * count.share)) : count.instances;
    for (const instance of candidates.slice(0, wanted)) {
      const identity = await this.#killer.identity(instance);
      if (identity === undefined) continue;
      await this.#killer.kill(instance);
      this.#request.onEvent(`killed ${instance.id} (${identity}) of ${target.name}`);
      this.#victims.push({ instance, identity, killedMs: this.#request.clock.monotonicMs() });
    }
    this.#lastStrikeMs = this.#request.clock.monotonicMs();
    await this.#watchThemGo();
  }

  async #watchThemGo(): Promise<void> {
    const { clock } = this.#request;
    const deadlineMs = clock.monotonicMs() + VANISH_TIMEOUT_MS;
    while (clock.monotonicMs() < deadlineMs) {
      for (const victim of this.#victims) {
        if (victim.goneMs !== undefined) continue;
        const now = await this.#killer.identity(victim.instance);
        if (now !== victim.identity) victim.goneMs = clock.monotonicMs();
      }
      if (this.#victims.every(({ goneMs }) => goneMs !== undefined)) return;
      await clock.sleep(POLL_MS);
    }
  }

  async renew(): Promise<void> {}

  async observe(): Promise<void> {
    const sinceMs = this.#request.clock.monotonicMs() - this.#lastStrikeMs;
    if (this.#params.durationMs > 0 && sinceMs >= this.#params.intervalMs) await this.strike();
  }

  async remove(): Promise<void> {}

  async recovered(signal: AbortSignal): Promise<void> {
    const { clock, target } = this.#request;
    const deadlineMs = this.#lastStrikeMs + this.#params.recoveryMs;
    for (;;) {
      const now = await this.#request.resolve(signal);
      const identities = await Promise.all(running(now.instances).map((one) => this.#killer.identity(one)));
      const alive = identities.filter(
        (one) => one !== undefined && !this.#victims.some((v) => v.identity === one),
      );
      if (alive.length >= this.#wholeCount) {
        this.#recoveredAfterMs = clock.monotonicMs() - this.#lastStrikeMs;
        this.#request.onEvent(`${target.name} is whole again after ${Math.round(this.#recoveredAfterMs)} ms`);
        return;
      }
      if (clock.monotonicMs() > deadlineMs) {
        throw new HeptadError(
          'NOT_RECOVERED',
          `${target.name} is not whole ${this.#params.recoveryMs} ms after the last kill: ${alive.length} of ${this.#wholeCount} instances run`,
        );
      }
      await clock.sleep(POLL_MS, signal);
    }
  }

  proof(): Proof {
    const gone = this.#victims.filter(({ goneMs }) => goneMs !== undefined);
    const evidence = {
      killed: this.#victims.map(({ instance, identity }) => `${instance.id} ${identity}`).join(', '),
      goneAfterMs: gone.map(({ killedMs, goneMs }) => (goneMs ?? killedMs) - killedMs),
      ...(this.#recoveredAfterMs === undefined ? {} : { recoveredAfterMs: this.#recoveredAfterMs }),
    };
    const proven = this.#victims.length > 0 && gone.length === this.#victims.length;
    const because = proven
      ? `all ${gone.length} killed processes are gone (pid and start time no longer exist)`
      : `${this.#victims.length} killed, only ${gone.length} seen to be gone`;
    return { proven, because, evidence };
  }
}

function running(instances: readonly ChaosInstance[]): ChaosInstance[] {
  return instances.filter(({ ready }) => ready !== false);
}
