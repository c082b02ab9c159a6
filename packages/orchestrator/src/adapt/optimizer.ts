// ResourceOptimizer: CPU and workers of a service from how restless and how roomy its world is.

import { HeptadError } from '@heptad/core';

/** What a signal source says about a service's world now. */
export interface ResourceSignal {
  /** How restless: 0 steady .. 1 wild. Restless services get more CPU each and fewer workers. */
  readonly volatility: number;
  /** How freely CPU can be handed out: 1 neutral, below scarce, above plentiful. More than 0. */
  readonly liquidity: number;
}

/** Where signals come from: machine load, request rates, a market. */
export interface SignalSource {
  /** The signal for one service. */
  read(service: string): Promise<ResourceSignal>;
}

/** A stance towards signals: what it makes of one before the formula. Pure. */
export type SignalStrategy = (signal: ResourceSignal) => ResourceSignal;

/** Volatility the aggressive strategy assumes at least: it provides for the storm before it is seen. */
const AGGRESSIVE_VOLATILITY = 0.8;

/** The strategies there are unless others are given. */
export const STRATEGIES: Readonly<Record<string, SignalStrategy>> = {
  /** The base figures, whatever the signals say: takes an adjustment back. */
  static: () => ({ volatility: 0, liquidity: 1 }),
  /** Goes half the way, and never above the base because CPU happens to be plentiful. */
  conservative: ({ volatility, liquidity }) => ({
    volatility: volatility / 2,
    liquidity: Math.min(1, (1 + liquidity) / 2),
  }),
  /** The signals as they are. */
  balanced: (signal) => signal,
  /** Assumes a volatility of at least 0.8 and never less than neutral liquidity. */
  aggressive: ({ volatility, liquidity }) => ({
    volatility: Math.max(AGGRESSIVE_VOLATILITY, volatility),
    liquidity: Math.max(1, liquidity),
  }),
};

/** Base figures and a signal. */
export interface OptimizeInput extends ResourceSignal {
  readonly baseCpuMillis: number;
  readonly baseWorkers: number;
}

/** What a service should have. */
export interface OptimizedResources {
  /** Millicores for each replica; at least 10, the least a limit can be. */
  readonly cpuMillis: number;
  /** Replicas; at least 1. */
  readonly workers: number;
}

const LEAST_CPU_MILLIS = 10;

/**
 * `cpu = baseCpu * (1 + 0.5 * volatility) * liquidity`, `workers = max(1, floor(baseWorkers * (1 - 0.3 * volatility)))`.
 *
 * @throws HeptadError `INVALID_ARGUMENT` when a figure is outside its range.
 *
 * @example
 * ```ts
 * import { optimizeResources } from '@heptad/orchestrator';
 *
 * const result = optimizeResources({ baseCpuMillis: 500, baseWorkers: 10, volatility: 0.5, liquidity: 1 });
 * if (result.cpuMillis !== 625 || result.workers !== 8) throw new Error('unexpected');
 * ```
 */
export function optimizeResources(input: OptimizeInput): OptimizedResources {
  const { baseCpuMillis, baseWorkers, volatility, liquidity } = input;
  demand(volatility >= 0 && volatility <= 1, 'volatility', volatility, 'from 0 to 1');
  demand(liquidity > 0 && Number.isFinite(liquidity), 'liquidity', liquidity, 'more than 0');
  demand(baseCpuMillis > 0 && Number.isFinite(baseCpuMillis), 'baseCpuMillis', baseCpuMillis, 'more than 0');
  demand(
    Number.isInteger(baseWorkers) && baseWorkers >= 1,
    'baseWorkers',
    baseWorkers,
    'a whole number from 1',
  );
  const cpu = Math.round(baseCpuMillis * (1 + 0.5 * volatility) * liquidity);
  return {
    cpuMillis: Math.max(LEAST_CPU_MILLIS, cpu),
    workers: Math.max(1, Math.floor(baseWorkers * (1 - 0.3 * volatility))),
  };
}

function demand(holds: boolean, name: string, value: number, range: string): void {
  if (holds) return;
  throw new HeptadError(
    'INVALID_ARGUMENT',
    `cannot size a service with ${name} ${value}: it must be ${range}`,
  );
}

/** A decision with its reason. */
export interface OptimizerDecision extends OptimizedResources {
  readonly strategy: string;
  /** What the source said. */
  readonly signal: ResourceSignal;
  /** What the strategy made of it. */
  readonly used: ResourceSignal;
  /** A sentence. */
  readonly because: string;
}

/** Options of {@link ResourceOptimizer}. */
export interface ResourceOptimizerOptions {
  readonly signals: SignalSource;
  /** Default {@link STRATEGIES}. */
  readonly strategies?: Readonly<Record<string, SignalStrategy>>;
}

/**
 * Decides what a service should have by a named strategy.
 *
 * @example
 * ```ts
 * import { ResourceOptimizer } from '@heptad/orchestrator';
 *
 * const optimizer = new ResourceOptimizer({ signals: { read: async () => ({ volatility: 0.2, liquidity: 1 }) } });
 * const { cpuMillis, workers, because } = await optimizer.decide({
 *   strategy: 'aggressive', service: 'web', baseCpuMillis: 500, baseWorkers: 4,
 * });
 * console.log(cpuMillis, workers, because); // 700 3 ...
 * ```
 */
export class ResourceOptimizer {
  readonly #signals: SignalSource;
  readonly #strategies: Readonly<Record<string, SignalStrategy>>;

  constructor(options: ResourceOptimizerOptions) {
    this.#signals = options.signals;
    this.#strategies = options.strategies ?? STRATEGIES;
  }

  /** Names of the strategies. */
  get strategies(): string[] {
    return Object.keys(this.#strategies);
  }

  /** Decides for one service. @throws HeptadError `INVALID_ARGUMENT` for an unknown strategy or an absurd signal. */
  async decide(request: {
    strategy: string;
    service: string;
    baseCpuMillis: number;
    baseWorkers: number;
  }): Promise<OptimizerDecision> {
    const { strategy, service, baseCpuMillis, baseWorkers } = request;
    const stance = Object.hasOwn(this.#strategies, strategy) ? this.#strategies[strategy] : undefined;
    if (stance === undefined) {
      throw new HeptadError(
        'INVALID_ARGUMENT',
        `cannot adjust ${service}: there is no strategy "${strategy}"`,
        {
          hint: `strategies: ${this.strategies.join(', ')}`,
          details: { strategies: this.strategies },
        },
      );
    }
    const signal = await this.#signals.read(service);
    const used = stance(signal);
    const { cpuMillis, workers } = optimizeResources({ baseCpuMillis, baseWorkers, ...used });
    const because =
      `strategy "${strategy}" took volatility ${used.volatility.toFixed(2)} and liquidity ${used.liquidity.toFixed(2)}: ` +
      `${baseCpuMillis} -> ${cpuMillis} millicores, ${baseWorkers} -> ${workers} replicas`;
    return { strategy, signal, used, cpuMillis, workers, because };
  }
}
