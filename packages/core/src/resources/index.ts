// All resource kinds in one place.

import type { z } from 'zod';
import { containerResource } from './container.ts';
import { endpointResource, networkPolicyResource, trafficRuleResource } from './network.ts';
import { nodeResource } from './node.ts';
import {
  alertResource,
  centerResource,
  experimentResource,
  quotaResource,
  securityPolicyResource,
} from './operations.ts';
import { serviceResource } from './service.ts';

export * from './common.ts';
export * from './container.ts';
export * from './network.ts';
export * from './node.ts';
export * from './operations.ts';
export * from './service.ts';

/** Kind -> schema of the whole resource. */
export const RESOURCE_SCHEMAS = {
  Node: nodeResource,
  Service: serviceResource,
  Container: containerResource,
  Endpoint: endpointResource,
  NetworkPolicy: networkPolicyResource,
  TrafficRule: trafficRuleResource,
  SecurityPolicy: securityPolicyResource,
  Quota: quotaResource,
  Center: centerResource,
  Experiment: experimentResource,
  Alert: alertResource,
} as const;
/** Name of a resource kind. */
export type ResourceKind = keyof typeof RESOURCE_SCHEMAS;
/** The resource type of a kind. */
export type ResourceOf<K extends ResourceKind> = z.infer<(typeof RESOURCE_SCHEMAS)[K]>;
