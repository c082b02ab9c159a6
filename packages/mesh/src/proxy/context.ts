// ProxyContext: what every part of the proxy shares, passed down once.

import type { Clock, Random } from '@heptad/core';
import type { BalancerName } from '../balance/balancer.ts';
import type { CircuitBreakerOptions } from '../resilience/circuit-breaker.ts';
import type { RetryBudgetOptions } from '../resilience/retry-budget.ts';
import type { RequestMetrics } from '../telemetry/metrics.ts';
import type { AccessLogEntry } from './access-log.ts';
import type { ProxyState } from './state.ts';

/** Limits in time and number of the forwarding path. */
export interface UpstreamOptions {
  /** Balancer of services that name none by the label `heptad/balancer`. Default `least-connections`. */
  readonly balancer?: BalancerName;
  /** Connecting to an endpoint. Default 2 s. */
  readonly connectTimeoutMs?: number;
  /** From the end of the request's head to the response's head. Default 60 s. */
  readonly responseTimeoutMs?: number;
  /** Longest silence within a body. Default 60 s. */
  readonly bodyTimeoutMs?: number;
  /** How long a request waits for an endpoint when there is none. Default 2 s. */
  readonly endpointWaitMs?: number;
  /** Attempts of a request in all. Default 3. */
  readonly maxAttempts?: number;
  /** Per service. */
  readonly retryBudget?: Omit<RetryBudgetOptions, 'clock'>;
  /** Per endpoint. */
  readonly breaker?: Omit<CircuitBreakerOptions, 'clock' | 'random' | 'name'>;
}

/** The same with every default filled in. */
export type ResolvedUpstreamOptions = Required<UpstreamOptions>;

/** Shared by listeners, connections and exchanges of one proxy. */
export interface ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly options: ResolvedUpstreamOptions;
  readonly metrics: RequestMetrics;
  readonly state: ProxyState;
  readonly onAccess: ((entry: AccessLogEntry) => void) | undefined;
  /** While draining, connections close after the response under way. */
  draining: boolean;
}

/** Fills in the defaults. */
export function resolveUpstreamOptions(options: UpstreamOptions = {}): ResolvedUpstreamOptions {
  return {
    balancer: options.balancer ?? 'least-connections',
    connectTimeoutMs: options.connectTimeoutMs ?? 2_000,
    responseTimeoutMs: options.responseTimeoutMs ?? 60_000,
    bodyTimeoutMs: options.bodyTimeoutMs ?? 60_000,
    endpointWaitMs: options.endpointWaitMs ?? 2_000,
    maxAttempts: options.maxAttempts ?? 3,
    retryBudget: options.retryBudget ?? {},
    breaker: options.breaker ?? {},
  };
}
