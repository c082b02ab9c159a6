// Container: one replica of a service, bound to a node.

import { z } from 'zod';
import { condition, resourceName, resourceSchema } from './common.ts';
import { serviceSpec } from './service.ts';

/** What the node should run. */
export const containerResourceSpec = z.strictObject({
  service: resourceName,
  /** The node it is bound to; absent while it waits for a place. */
  node: z.string().optional(),
  /** Which replica slot of the service it fills, from 0. */
  slot: z.number().int().nonnegative(),
  /** Hash of `template`: replicas of an older one are replaced. */
  templateHash: z.string(),
  /** The service's spec as of its making. */
  template: serviceSpec,
  /** What the agent should make true. */
  desired: z.enum(['running', 'stopped']),
  /** While draining it serves what it has and gets nothing new; stopped after this wall time. */
  drainUntil: z.number().int().optional(),
});
/** What the agent observed. */
export const containerResourceStatus = z.strictObject({
  status: z.enum(['Pending', 'Running', 'Paused', 'Succeeded', 'Failed', 'Unknown']),
  observedGeneration: z.number().int().nonnegative(),
  /** Id in the runtime. */
  runtimeId: z.string().optional(),
  isolation: z.enum(['container', 'vm', 'process']).optional(),
  address: z.string().optional(),
  /** Passed its health check (or has none and runs). */
  ready: z.boolean(),
  readySince: z.number().int().optional(),
  restarts: z.number().int().nonnegative(),
  exitCode: z.number().int().optional(),
  startedAt: z.number().int().optional(),
  /** No restart before this wall time (back-off). */
  restartAt: z.number().int().optional(),
  /** A sentence: what it is doing or why it failed. */
  message: z.string(),
  conditions: z.array(condition),
});
/** Schema of {@link ContainerResource}. */
export const containerResource = resourceSchema('Container', containerResourceSpec, containerResourceStatus);
/** One replica. */
export type ContainerResource = z.infer<typeof containerResource>;
