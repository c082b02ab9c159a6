// Typed access to every resource kind over one store.

import { type Clock, type Random, type ResourceKind, Resources, type StateStore } from '@heptad/core';

/** One {@link Resources} a kind. */
export type ResourceAccess = { readonly [K in ResourceKind]: Resources<K> };

/** All kinds over `store`. */
export function accessResources(
  store: StateStore,
  options: { clock: Clock; random: Random },
): ResourceAccess {
  return {
    Node: new Resources(store, 'Node', options),
    Service: new Resources(store, 'Service', options),
    Container: new Resources(store, 'Container', options),
    Endpoint: new Resources(store, 'Endpoint', options),
    NetworkPolicy: new Resources(store, 'NetworkPolicy', options),
    TrafficRule: new Resources(store, 'TrafficRule', options),
    SecurityPolicy: new Resources(store, 'SecurityPolicy', options),
    Quota: new Resources(store, 'Quota', options),
    Center: new Resources(store, 'Center', options),
    Experiment: new Resources(store, 'Experiment', options),
    Alert: new Resources(store, 'Alert', options),
  };
}
