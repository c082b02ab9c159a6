// Balancer: chooses which endpoint gets the next request.

/** What a balancer knows of an endpoint. The caller counts `inFlight` up and down around each request. */
export interface BalanceTarget {
  readonly id: string;
  /** Relative share; 0 gets nothing. */
  readonly weight: number;
  /** Requests (or connections) it is serving now for this caller. */
  readonly inFlight: number;
}

/**
 * Chooses among endpoints. State that must survive between picks (turns, latencies) is held per target *object*, weakly:
 * pass the same objects again, and endpoints that go away are forgotten without any clean-up.
 */
export interface Balancer {
  readonly name: BalancerName;
  /** One of `targets` with a weight above 0, or `undefined` when there is none. */
  pick<T extends BalanceTarget>(targets: readonly T[]): T | undefined;
  /** Tells how a picked request went, for balancers that learn. */
  observe?(target: BalanceTarget, durationMs: number, failed: boolean): void;
}

/** Names of the balancers, as in configuration. */
export type BalancerName =
  | 'round-robin'
  | 'weighted'
  | 'least-connections'
  | 'p2c-least-connections'
  | 'peak-ewma';
