// ClientContext: options of the in-process client with their defaults filled in, shared by its parts.

import type { Clock, MeshSnapshot, Random, ServiceCatalog } from '@heptad/core';
import type { BalancerName } from '../balance/balancer.ts';
import type { CircuitBreakerOptions } from '../resilience/circuit-breaker.ts';
import type { RetryBudgetOptions } from '../resilience/retry-budget.ts';
import type { RequestMetrics } from '../telemetry/metrics.ts';

/** Policies, rules and services that a client obeys. */
export type ClientRules = Pick<MeshSnapshot, 'policies' | 'rules' | 'services'>;

/** What a {@link MeshClient} is made of. */
export interface MeshClientOptions {
  /** Where services are found: `registry.catalog`, a `StateStoreCatalog`, or your own. */
  readonly catalog: ServiceCatalog;
  readonly clock?: Clock;
  readonly random?: Random;
  /** The service this program is, for policies and rules by source. */
  readonly service?: string;
  /** Policies and rules in force; asked at each request, so it must be quick. Default: none. */
  readonly rules?: () => ClientRules | undefined;
  /**
   * Requests wait for this (at most `endpointWaitMs`, then `POLICY_UNKNOWN`): so that none is made before the policies that
   * may forbid it are known.
   */
  readonly ready?: Promise<unknown>;
  /** Default `least-connections`. */
  readonly balancer?: BalancerName;
  /** Default 2 s. */
  readonly connectTimeoutMs?: number;
  /** From the request's end to the response's head. Default 60 s. */
  readonly responseTimeoutMs?: number;
  /** Longest silence within a response's body. Default 60 s. */
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

/** Limits with defaults filled in. */
export type ResolvedClientOptions = Required<
  Pick<
    MeshClientOptions,
    | 'balancer'
    | 'connectTimeoutMs'
    | 'responseTimeoutMs'
    | 'bodyTimeoutMs'
    | 'endpointWaitMs'
    | 'maxAttempts'
    | 'retryBudget'
    | 'breaker'
  >
>;

/** Shared by the parts of one client. */
export interface ClientContext {
  readonly catalog: ServiceCatalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly service: string | undefined;
  readonly rules: () => ClientRules | undefined;
  /** `undefined` once it has resolved. */
  ready: Promise<unknown> | undefined;
  readonly options: ResolvedClientOptions;
  readonly metrics: RequestMetrics;
}

/** Fills in the defaults. */
export function resolveClientOptions(options: MeshClientOptions): ResolvedClientOptions {
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
