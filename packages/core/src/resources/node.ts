// Node: a machine that runs containers.

import { z } from 'zod';
import { condition, resourceQuantities, resourceSchema } from './common.ts';

/** What a node offers and whether it may be used. */
export const nodeSpec = z.strictObject({
  capacity: resourceQuantities,
  /** Address where other nodes reach it. */
  address: z.string(),
  zone: z.string().optional(),
  /** Cordoned: keeps what it has, gets nothing new. */
  unschedulable: z.boolean().default(false),
  /** Being emptied. */
  draining: z.boolean().default(false),
});
/** What the node's agent and the node controller observed. */
export const nodeStatus = z.strictObject({
  status: z.enum(['Ready', 'NotReady', 'Unknown']),
  allocated: resourceQuantities,
  /** Wall time of the agent's last report. */
  heartbeatAt: z.number().int(),
  /** Rises with each start of the agent: an older one is fenced. */
  agentGeneration: z.number().int().nonnegative(),
  runtime: z
    .strictObject({
      name: z.string(),
      version: z.string().optional(),
      isolation: z.enum(['container', 'vm', 'process']),
      /** Runtimes beside this one that a service may ask for. */
      others: z.array(z.string()).optional(),
      reasons: z.array(z.string()),
    })
    .optional(),
  conditions: z.array(condition),
});
/** Schema of {@link NodeResource}. */
export const nodeResource = resourceSchema('Node', nodeSpec, nodeStatus);
/** A machine. */
export type NodeResource = z.infer<typeof nodeResource>;
