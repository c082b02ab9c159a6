// What every resource has: identity, labels, revision, conditions.

import { z } from 'zod';

/** Names of resources: DNS labels, so that they can be host names. */
export const resourceName = z
  .string()
  .min(1, 'must not be empty')
  .max(63, 'must be at most 63 characters')
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/,
    'must be lower-case letters, digits and inner hyphens, such as "order-api"',
  );

/** Labels: short text to short text. */
export const labels = z.record(z.string().min(1).max(253), z.string().max(1024));
/** See {@link labels}. */
export type Labels = z.infer<typeof labels>;

/** Amounts of the four resources. CPU in millicores, memory and storage in bytes, network in Mbit/s. */
export const resourceQuantities = z.strictObject({
  cpuMillis: z.number().int().nonnegative(),
  memoryBytes: z.number().int().nonnegative(),
  storageBytes: z.number().int().nonnegative(),
  networkMbps: z.number().nonnegative(),
});
/** See {@link resourceQuantities}. */
export type ResourceQuantities = z.infer<typeof resourceQuantities>;

/** One observed fact about a resource. */
export const condition = z.strictObject({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  /** One CamelCase word. */
  reason: z.string(),
  /** A sentence for people. */
  message: z.string(),
  since: z.number().int(),
});
/** See {@link condition}. */
export type Condition = z.infer<typeof condition>;

/** Schema of a whole resource of one kind. */
export function resourceSchema<K extends string, Spec extends z.ZodType, Status extends z.ZodType>(
  kind: K,
  spec: Spec,
  status: Status,
) {
  return z.strictObject({
    kind: z.literal(kind),
    /** UUID version 7, given at creation. */
    id: z.uuid(),
    namespace: resourceName,
    name: resourceName,
    labels,
    /** What somebody wants. */
    spec,
    /** What some part observed; only its owner writes it. */
    status,
    /** Rises by one with each change of `spec`. */
    generation: z.number().int().positive(),
    /** The state store's revision of its last change; 0 before it is stored. */
    revision: z.number().int().nonnegative(),
    createdAt: z.number().int(),
    /** Marked for deletion; it goes when its finalisers are gone. */
    deletedAt: z.number().int().optional(),
    /** Parts that must clean up before it may go. */
    finalizers: z.array(z.string()),
  });
}
