// SecurityPolicy, Quota, Center, Experiment, Alert: how the cloud is kept safe, sized, moved, tested and watched.

import { z } from 'zod';
import { resourceSchema } from './common.ts';

/** Levels of protection, weakest first. */
export const securityLevel = z.enum(['low', 'medium', 'high', 'critical']);
/** What a level or a policy demands. */
export const securityPolicySpec = z.strictObject({
  level: securityLevel,
  encryptionRequired: z.boolean(),
  authenticationRequired: z.boolean(),
  authorizationRequired: z.boolean(),
  auditRequired: z.boolean(),
  rateLimitRequired: z.boolean(),
});
/** Schema of {@link SecurityPolicyResource}. */
export const securityPolicyResource = resourceSchema(
  'SecurityPolicy',
  securityPolicySpec,
  z.strictObject({}),
);
/** What protection is demanded. */
export type SecurityPolicyResource = z.infer<typeof securityPolicyResource>;

/** Limits of a namespace, and the adaptive strategy of a service. */
export const quotaSpec = z.strictObject({
  cpuMillis: z.number().int().nonnegative().optional(),
  memoryBytes: z.number().int().nonnegative().optional(),
  storageBytes: z.number().int().nonnegative().optional(),
  networkMbps: z.number().nonnegative().optional(),
  replicas: z.number().int().nonnegative().optional(),
  /** The service an adaptive strategy steers, its base figures and the strategy's name. */
  adaptive: z
    .strictObject({
      service: z.string(),
      strategy: z.string(),
      baseCpuMillis: z.number().int().min(10),
      baseWorkers: z.number().int().min(1),
    })
    .optional(),
});
/** Schema of {@link QuotaResource}. */
export const quotaResource = resourceSchema(
  'Quota',
  quotaSpec,
  z.strictObject({
    used: z.strictObject({
      cpuMillis: z.number(),
      memoryBytes: z.number(),
      storageBytes: z.number(),
      networkMbps: z.number(),
      replicas: z.number(),
    }),
    message: z.string(),
  }),
);
/** Limits of a namespace. */
export type QuotaResource = z.infer<typeof quotaResource>;

/** A centre (site). */
export const centerSpec = z.strictObject({
  address: z.string(),
  zone: z.string().optional(),
  preferred: z.boolean().default(false),
  witness: z.boolean().default(false),
});
/** What the disaster-recovery controller observed. */
export const centerStatus = z.strictObject({
  role: z.enum(['primary', 'backup', 'witness', 'fenced']),
  /** Fencing generation the centre last acknowledged. */
  generation: z.number().int().nonnegative(),
  phi: z.number().optional(),
  lagMs: z.number().optional(),
  message: z.string(),
});
/** Schema of {@link CenterResource}. */
export const centerResource = resourceSchema('Center', centerSpec, centerStatus);
/** A centre. */
export type CenterResource = z.infer<typeof centerResource>;

/** A chaos experiment: the YAML's content as is. */
export const experimentSpec = z.strictObject({ source: z.string(), startedBy: z.string().optional() });
/** Schema of {@link ExperimentResource}. */
export const experimentResource = resourceSchema(
  'Experiment',
  experimentSpec,
  z.strictObject({
    phase: z.enum(['pending', 'running', 'completed', 'failed', 'aborted']),
    verdict: z.enum(['passed', 'failed', 'unproven']).optional(),
    score: z.number().optional(),
    reportId: z.string().optional(),
    message: z.string(),
  }),
);
/** A chaos experiment. */
export type ExperimentResource = z.infer<typeof experimentResource>;

/** An alert rule. */
export const alertSpec = z.strictObject({
  /** A query whose non-empty result is the alarm: `rate(requests_total{code=~"5.."}[1m]) > 1`. */
  expression: z.string().min(1),
  /** It must hold this long. */
  forMs: z.number().int().nonnegative(),
  severity: z.enum(['info', 'warning', 'critical']),
  summary: z.string(),
  webhook: z.url().optional(),
});
/** Schema of {@link AlertResource}. */
export const alertResource = resourceSchema(
  'Alert',
  alertSpec,
  z.strictObject({
    state: z.enum(['inactive', 'pending', 'firing']),
    since: z.number().int().optional(),
    value: z.number().optional(),
    message: z.string(),
  }),
);
/** An alert rule with its state. */
export type AlertResource = z.infer<typeof alertResource>;
