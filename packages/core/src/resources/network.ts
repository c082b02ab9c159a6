// Endpoint, NetworkPolicy, TrafficRule: who serves, who may talk to whom, and how traffic is split.

import { z } from 'zod';
import { labels, resourceName, resourceSchema } from './common.ts';
import { protocol } from './service.ts';

/** A place that serves a service; lives on its writer's lease. */
export const endpointSpec = z.strictObject({
  service: resourceName,
  node: z.string().optional(),
  address: z.string(),
  ports: z.record(z.string(), z.number().int().min(1).max(65535)),
  zone: z.string().optional(),
  weight: z.number().nonnegative().default(1),
  version: z.string().optional(),
  labels: labels.default({}),
});
/** Schema of {@link EndpointResource}. */
export const endpointResource = resourceSchema(
  'Endpoint',
  endpointSpec,
  z.strictObject({ state: z.enum(['ready', 'draining', 'unready']) }),
);
/** A place that serves a service. */
export type EndpointResource = z.infer<typeof endpointResource>;

/** Which workloads: by service name, by labels (all must match), or an address range. */
export const networkPeer = z
  .strictObject({ service: resourceName.optional(), labels: labels.optional(), cidr: z.string().optional() })
  .refine((peer) => peer.service !== undefined || peer.labels !== undefined || peer.cidr !== undefined, {
    message: 'needs service, labels or cidr',
  });
/** Ports a rule allows. */
export const policyPort = z.strictObject({
  port: z.number().int().min(1).max(65535),
  protocol: protocol.default('TCP'),
});
/** One allowance. No peers: anybody; no ports: all ports. */
export const policyRule = z.strictObject({
  peers: z.array(networkPeer).default([]),
  ports: z.array(policyPort).default([]),
});
/**
 * Selects services; once a service is selected for a direction, everything not allowed by some policy is denied.
 * An absent direction is not restricted by this policy; an empty list denies all.
 */
export const networkPolicySpec = z.strictObject({
  selector: z.strictObject({ service: resourceName.optional(), labels: labels.optional() }),
  ingress: z.array(policyRule).optional(),
  egress: z.array(policyRule).optional(),
});
/** See {@link networkPolicySpec}. */
export type NetworkPolicySpec = z.infer<typeof networkPolicySpec>;
/** Schema of {@link NetworkPolicyResource}. */
export const networkPolicyResource = resourceSchema('NetworkPolicy', networkPolicySpec, z.strictObject({}));
/** Who may talk to whom. */
export type NetworkPolicyResource = z.infer<typeof networkPolicyResource>;

/** One test of a request. */
export const trafficCondition = z.strictObject({
  on: z.enum(['method', 'path', 'header']),
  /** Header name, for `header`. */
  header: z.string().optional(),
  operator: z.enum(['Equals', 'NotEquals', 'Contains', 'NotContains']),
  value: z.string(),
});
/**
 * Sends `weight` percent of the requests from `source` (absent: anybody) to `target.service` that meet all conditions
 * to the endpoints of `target.version`; what no rule takes goes to all endpoints.
 */
export const trafficRuleSpec = z.strictObject({
  source: z.strictObject({ service: resourceName }).optional(),
  target: z.strictObject({ service: resourceName, version: z.string().optional() }),
  weight: z.number().min(0).max(100).default(100),
  conditions: z.array(trafficCondition).default([]),
});
/** See {@link trafficRuleSpec}. */
export type TrafficRuleSpec = z.infer<typeof trafficRuleSpec>;
/** Schema of {@link TrafficRuleResource}. */
export const trafficRuleResource = resourceSchema('TrafficRule', trafficRuleSpec, z.strictObject({}));
/** How traffic is split. */
export type TrafficRuleResource = z.infer<typeof trafficRuleResource>;
