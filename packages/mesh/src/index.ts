// The whole public face of @heptad/mesh.

export type { Balancer, BalancerName, BalanceTarget } from './balance/balancer.ts';
export { createBalancer, isBalancerName } from './balance/create.ts';
export { LeastConnectionsBalancer, type LeastConnectionsOptions } from './balance/least-connections.ts';
export { PeakEwmaBalancer, type PeakEwmaOptions } from './balance/peak-ewma.ts';
export { RoundRobinBalancer } from './balance/round-robin.ts';
export { WeightedBalancer } from './balance/weighted.ts';
export type { ClientRules, MeshClientOptions } from './client/context.ts';
export { MeshClient } from './client/mesh-client.ts';
export type { ServiceHandler, ServiceRequest, ServiceResponse } from './microservice/http.ts';
export { Microservice, type MicroserviceOptions } from './microservice/microservice.ts';
export type { ServiceRoutes } from './microservice/routes.ts';
export {
  evaluatePolicy,
  type PolicyDecision,
  type PolicyParty,
  type PolicySnapshot,
} from './policy/network-policy.ts';
export { type RouteDecision, type RoutedRequest, route } from './policy/traffic-rules.ts';
export type { AccessLogEntry } from './proxy/access-log.ts';
export {
  type AddressManager,
  type LinuxAddressesOptions,
  linuxAddresses,
  noAddresses,
} from './proxy/addresses.ts';
export type { UpstreamOptions } from './proxy/context.ts';
export type { ListenerStatus } from './proxy/listeners.ts';
export { NodeProxy, type NodeProxyOptions, type NodeProxyStatus } from './proxy/node-proxy.ts';
export type { ProxyProblemCode } from './proxy/problem.ts';
export { BALANCER_LABEL } from './proxy/service-cluster.ts';
export { StateStoreCatalog, type StateStoreCatalogOptions } from './registry/catalog.ts';
export { Registration, type RegistrationSpec } from './registry/registration.ts';
export { ServiceRegistry, type ServiceRegistryOptions } from './registry/service-registry.ts';
export { Bulkhead, type BulkheadOptions } from './resilience/bulkhead.ts';
export {
  CircuitBreaker,
  type CircuitBreakerOptions,
  type CircuitPermit,
  type CircuitState,
} from './resilience/circuit-breaker.ts';
export {
  type BackoffOptions,
  backoffMs,
  isIdempotentMethod,
  type RetryOptions,
  retry,
} from './resilience/retry.ts';
export { RetryBudget, type RetryBudgetOptions } from './resilience/retry-budget.ts';
export { ServiceMesh, type ServiceMeshOptions } from './service-mesh.ts';
export { compileSnapshot, type MeshResources, toServiceEndpoint } from './snapshot/compile.ts';
export { type WatchMeshSnapshotOptions, watchMeshSnapshot } from './snapshot/watch.ts';
