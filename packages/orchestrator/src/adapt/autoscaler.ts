// Autoscaler: as many replicas as keep a metric at its target.

import { type Clock, HeptadError, systemClock } from '@heptad/core';

/** What a service is scaled by. */
export interface AutoscaleTarget {
  readonly service: string;
  /** Wanted value of the metric *per replica*: requests/s, CPU share, queue length. More than 0. */
  readonly target: number;
  readonly min: number;
  readonly max: number;
}

/** Within this share of the target nothing is done: small swings are not worth a replica. */
export const AUTOSCALE_TOLERANCE = 0.1;
/** Replicas are taken away only after fewer were enough for this long. */
export const AUTOSCALE_DOWN_STABILISATION_MS = 300_000;
/** How often the metric is looked at. */
export const AUTOSCALE_INTERVAL_MS = 15_000;

/** How many replicas one look at the metric asked for. */
export interface Recommendation {
  readonly at: number;
  readonly replicas: number;
}

/** What to do, and what to remember for the next time. */
export interface AutoscaleDecision {
  readonly replicas: number;
  readonly because: string;
  readonly history: readonly Recommendation[];
}

/**
 * Decides the number of replicas: `ceil(current * metric / target)`, nothing within 10 % of the target, and never fewer
 * than any recommendation of the last 5 minutes. Pure.
 *
 * Source: Kubernetes' horizontal pod autoscaler.
 *
 * @param perReplica - the metric now, divided by the replicas that share it.
 *
 * @example
 * ```ts
 * import { decideReplicas } from '@heptad/orchestrator';
 *
 * const target = { service: 'web', target: 100, min: 1, max: 10 };
 * const decision = decideReplicas(target, { current: 2, perReplica: 250, at: 0, history: [] });
 * if (decision.replicas !== 5) throw new Error('unexpected');
 * ```
 */
export function decideReplicas(
  target: AutoscaleTarget,
  seen: { current: number; perReplica: number; at: number; history: readonly Recommendation[] },
): AutoscaleDecision {
  const { current, perReplica, at } = seen;
  const bound = (replicas: number): number => Math.min(target.max, Math.max(target.min, replicas));
  const ratio = perReplica / target.target;
  // 110 / 100 - 1 is a little more than 0.1 in binary floating point.
  const steady = Math.abs(ratio - 1) <= AUTOSCALE_TOLERANCE + 1e-9;
  const wanted = bound(steady ? current : Math.ceil(current * ratio));
  const history = [
    ...seen.history.filter((past) => at - past.at < AUTOSCALE_DOWN_STABILISATION_MS),
    { at, replicas: wanted },
  ];
  const peak = Math.max(...history.map((past) => past.replicas));
  const replicas = wanted >= current ? wanted : bound(Math.min(current, peak));
  const measure = `${perReplica.toFixed(2)} per replica against ${target.target}`;
  const because =
    replicas === current
      ? wanted < current
        ? `${measure}: ${wanted} replicas would do, but ${replicas} were needed within the last 5 minutes`
        : `${measure}: ${current} replicas are right`
      : `${measure}: ${current} -> ${replicas} replicas`;
  return { replicas, because, history };
}

/** What an {@link Autoscaler} steers; {@link ContainerOrchestrator} is one. */
export interface Scalable {
  get(service: string): Promise<{ spec: { replicas: number } }>;
  scale(service: string, replicas: number): Promise<unknown>;
}

/** Options of {@link Autoscaler}. */
export interface AutoscalerOptions {
  readonly orchestrator: Scalable;
  readonly targets: readonly AutoscaleTarget[];
  /** The metric of a service summed over its replicas; undefined: not known now, so nothing is done. */
  readonly metric: (service: string) => Promise<number | undefined>;
  /** Default the system's. */
  readonly clock?: Clock;
  /** Default {@link AUTOSCALE_INTERVAL_MS}. */
  readonly intervalMs?: number;
  /** Hears every decision that changes something. */
  readonly onScale?: (service: string, decision: AutoscaleDecision) => void;
  readonly onError?: (error: unknown) => void;
}

/** Looks at the metrics in turn and scales. */
export class Autoscaler implements AsyncDisposable {
  readonly #options: AutoscalerOptions;
  readonly #history = new Map<string, readonly Recommendation[]>();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  /** @throws HeptadError `INVALID_ARGUMENT` for a target that cannot be met. */
  constructor(options: AutoscalerOptions) {
    for (const { service, target, min, max } of options.targets) {
      const fine = target > 0 && Number.isInteger(min) && Number.isInteger(max) && min >= 1 && max >= min;
      if (fine) continue;
      throw new HeptadError(
        'INVALID_ARGUMENT',
        `cannot autoscale ${service}: target ${target}, min ${min}, max ${max}`,
        {
          hint: 'target must be more than 0, and 1 <= min <= max',
        },
      );
    }
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the autoscaler was stopped'));
    await this.#running;
  }

  /** Looks at every target once. A failure of one does not keep the others from being looked at. */
  async look(): Promise<void> {
    for (const target of this.#options.targets) {
      try {
        await this.#lookAt(target);
      } catch (error) {
        this.#options.onError?.(error);
      }
    }
  }

  async #run(): Promise<void> {
    const clock = this.#options.clock ?? systemClock;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.look();
      await clock.sleep(this.#options.intervalMs ?? AUTOSCALE_INTERVAL_MS, signal).catch(() => {});
    }
  }

  async #lookAt(target: AutoscaleTarget): Promise<void> {
    const { orchestrator, metric, onScale } = this.#options;
    const clock = this.#options.clock ?? systemClock;
    const { service } = target;
    const current = (await orchestrator.get(service)).spec.replicas;
    // Scaled to zero by somebody: that is a wish, not a low metric.
    if (current === 0) return;
    const value = await metric(service);
    if (value === undefined) return;
    const history = this.#history.get(service) ?? [];
    const decision = decideReplicas(target, {
      current,
      perReplica: value / current,
      at: clock.now(),
      history,
    });
    this.#history.set(service, decision.history);
    if (decision.replicas === current) return;
    await orchestrator.scale(service, decision.replicas);
    onScale?.(service, decision);
  }
}
