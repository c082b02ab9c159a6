// The status of a resource nobody has observed yet, for each kind.

import type { ResourceKind, ResourceOf } from '../resources/index.ts';

const NOTHING = { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 };
const NOT_YET = 'not observed yet';

const INITIAL_STATUS: { readonly [K in ResourceKind]: () => ResourceOf<K>['status'] } = {
  Node: () => ({
    status: 'Unknown',
    allocated: { ...NOTHING },
    heartbeatAt: 0,
    agentGeneration: 0,
    conditions: [],
  }),
  Service: () => ({
    observedGeneration: 0,
    replicas: { total: 0, running: 0, failed: 0, pending: 0, ready: 0, updated: 0 },
    conditions: [],
  }),
  Container: () => ({
    status: 'Pending',
    observedGeneration: 0,
    ready: false,
    restarts: 0,
    message: NOT_YET,
    conditions: [],
  }),
  Endpoint: () => ({ state: 'unready' }),
  NetworkPolicy: () => ({}),
  TrafficRule: () => ({}),
  SecurityPolicy: () => ({}),
  Quota: () => ({ used: { ...NOTHING, replicas: 0 }, message: NOT_YET }),
  Center: () => ({ role: 'backup', generation: 0, message: NOT_YET }),
  Experiment: () => ({ phase: 'pending', message: NOT_YET }),
  Alert: () => ({ state: 'inactive', message: NOT_YET }),
};

/** The status a new resource of a kind begins with when its creator gives none. */
export function initialStatus<K extends ResourceKind>(kind: K): ResourceOf<K>['status'] {
  return INITIAL_STATUS[kind]();
}
