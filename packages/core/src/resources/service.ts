// Service: what should run, how many times, and how to tell that it works.

import { z } from 'zod';
import { condition, labels, resourceName, resourceSchema } from './common.ts';

/** TCP or UDP. */
export const protocol = z.enum(['TCP', 'UDP']);

/** A port of the service. */
export const servicePort = z.strictObject({
  /** Name of the port, default its number. */
  name: z.string(),
  /** Port inside the container, and on the service's virtual address. */
  port: z.number().int().min(1).max(65535),
  protocol: protocol.default('TCP'),
  /** Host port that leads here, when published. */
  published: z.number().int().min(1).max(65535).optional(),
  /** Host address the published port binds to. Default 127.0.0.1. */
  publishedAddress: z.string().optional(),
});
/** See {@link servicePort}. */
export type ServicePort = z.infer<typeof servicePort>;

/** How to tell that a container works. Exactly one of command, http and tcp. */
export const healthCheck = z
  .strictObject({
    /** Run inside the container; exit code 0 is healthy. */
    command: z.array(z.string()).min(1).optional(),
    /** GET on the container; 200..399 is healthy. */
    http: z
      .strictObject({ path: z.string().startsWith('/'), port: z.number().int().min(1).max(65535) })
      .optional(),
    /** A connection that opens is healthy. */
    tcp: z.strictObject({ port: z.number().int().min(1).max(65535) }).optional(),
    intervalMs: z.number().int().min(100).default(10_000),
    timeoutMs: z.number().int().min(50).default(5_000),
    /** Failures in a row that make it unhealthy. */
    retries: z.number().int().min(1).default(3),
    /** Failures in this first time do not count. */
    startPeriodMs: z.number().int().min(0).default(0),
    /** Interval until the first success. */
    startIntervalMs: z.number().int().min(50).default(500),
    onFailure: z.enum(['restart', 'none']).default('restart'),
  })
  .refine(
    (check) => [check.command, check.http, check.tcp].filter((kind) => kind !== undefined).length === 1,
    {
      message: 'needs exactly one of command, http and tcp',
    },
  );
/** See {@link healthCheck}. */
export type HealthCheck = z.infer<typeof healthCheck>;

/** Requests (for placement) and limits (enforced), parsed. */
export const serviceResources = z.strictObject({
  requests: z.strictObject({
    cpuMillis: z.number().int().nonnegative(),
    memoryBytes: z.number().int().nonnegative(),
    storageBytes: z.number().int().nonnegative(),
    networkMbps: z.number().nonnegative(),
  }),
  limits: z.strictObject({
    cpuMillis: z.number().int().min(10).optional(),
    memoryBytes: z
      .number()
      .int()
      .min(4 * 1024 * 1024)
      .optional(),
    pids: z.number().int().min(1).optional(),
  }),
});

/** A mount of the service's containers. */
export const serviceVolume = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('bind'),
    source: z.string(),
    target: z.string(),
    readOnly: z.boolean().default(false),
  }),
  z.strictObject({
    type: z.literal('volume'),
    name: z.string(),
    target: z.string(),
    readOnly: z.boolean().default(false),
  }),
  z.strictObject({
    type: z.literal('tmpfs'),
    target: z.string(),
    sizeBytes: z.number().int().positive().optional(),
  }),
]);

/** A service this one needs first. */
export const dependency = z.strictObject({
  service: resourceName,
  condition: z.enum(['started', 'healthy', 'completed']).default('started'),
});

/** How a change is rolled out. */
export const updatePolicy = z.strictObject({
  /** Extra replicas allowed during the change (start-first) . */
  maxSurge: z.number().int().min(0).default(1),
  /** Replicas that may be missing during the change (stop-first). */
  maxUnavailable: z.number().int().min(0).default(0),
  /** A new replica must stay ready this long to count. */
  minReadyMs: z.number().int().min(0).default(0),
  /** Without progress for this long the rollout has failed. */
  progressDeadlineMs: z.number().int().min(1_000).default(120_000),
  /** What then. */
  onFailure: z.enum(['rollback', 'pause']).default('rollback'),
});

/** What to do when a container ends. */
export const restartPolicy = z.strictObject({
  condition: z.enum(['always', 'on-failure', 'never']).default('always'),
  maxAttempts: z.number().int().min(1).optional(),
});

/** What a platform facility a service may use from inside its containers. */
export const facility = z.enum(['storage', 'events', 'election', 'telemetry']);

/** What somebody wants to run. */
export const serviceSpec = z.strictObject({
  image: z.string().min(1),
  /** 0 keeps the service's name and address and runs nothing. */
  replicas: z.number().int().min(0).max(10_000),
  command: z.array(z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  resources: serviceResources,
  ports: z.array(servicePort),
  environment: z.record(z.string(), z.string()),
  /** Names in `environment` whose values must never be shown. */
  secretEnvironment: z.array(z.string()).default([]),
  /** Files in memory: secrets and configs, by target path. `secretRef` names sealed content in the platform. */
  files: z
    .array(
      z.strictObject({
        target: z.string().startsWith('/'),
        content: z.string(),
        secret: z.boolean().default(false),
      }),
    )
    .default([]),
  healthCheck: healthCheck.optional(),
  dependencies: z.array(dependency),
  /** Version text: an image tag or what the author says; traffic rules select by it. */
  version: z.string().default('1'),
  labels: labels,
  volumes: z.array(serviceVolume),
  networks: z.array(z.string()).default([]),
  /** Placement constraints, `node.labels.disk==ssd`. */
  constraints: z.array(z.string()).default([]),
  update: updatePolicy.prefault({}),
  restart: restartPolicy.prefault({}),
  stopGraceMs: z.number().int().min(0).default(10_000),
  user: z.string().optional(),
  workingDirectory: z.string().optional(),
  readOnlyRootfs: z.boolean().default(false),
  /** `auto` takes the node's best. */
  runtime: z.enum(['auto', 'oci', 'process', 'docker', 'vm']).default('auto'),
  /** Load balancing in the mesh: `http` per request, `tcp` per connection. */
  trafficMode: z.enum(['http', 'tcp']).default('http'),
  facilities: z.array(facility).default([]),
});
/** See {@link serviceSpec}. */
export type ServiceSpec = z.infer<typeof serviceSpec>;

/** What the service controller observed. */
export const serviceStatus = z.strictObject({
  observedGeneration: z.number().int().nonnegative(),
  /** Stable address of the service on every node. */
  virtualAddress: z.string().optional(),
  replicas: z.strictObject({
    total: z.number().int(),
    running: z.number().int(),
    failed: z.number().int(),
    pending: z.number().int(),
    ready: z.number().int(),
    updated: z.number().int(),
  }),
  rollout: z
    .strictObject({
      state: z.enum(['idle', 'progressing', 'paused', 'rolled-back', 'failed']),
      message: z.string(),
      progressedAt: z.number().int(),
      templateHash: z.string(),
    })
    .optional(),
  conditions: z.array(condition),
});
/** Schema of {@link ServiceResource}. */
export const serviceResource = resourceSchema('Service', serviceSpec, serviceStatus);
/** A service. */
export type ServiceResource = z.infer<typeof serviceResource>;
