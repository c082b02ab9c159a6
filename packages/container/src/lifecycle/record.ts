// What is kept of a container on disk: the ground truth from which any later process goes on.

import type { ContainerInfo, ContainerSpec, ContainerState, ExitStatus, ResourceLimits } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { ProcessIdentity } from '../system/processes.ts';

/** States on disk: the public ones, and the two halves of an operation that a crash can leave. */
export type StoredState = 'creating' | 'restarting' | Exclude<ContainerState, 'removed'> | 'removing';

/** The content of `container.json`. Never holds a secret. */
export interface ContainerRecord {
  readonly version: 1;
  readonly id: string;
  readonly name: string;
  /** As asked for, secrets left out. */
  readonly spec: ContainerSpec;
  state: StoredState;
  imageDigest?: string | undefined;
  stopSignal: string;
  limits: ResourceLimits;
  /** Extra lines of /etc/hosts: the spec's, until they are set anew. */
  hosts?: Readonly<Record<string, string>> | undefined;
  address?: string | undefined;
  /** The main process, once it exists; meaningful only under `bootId`. */
  process?: ProcessIdentity | undefined;
  bootId: string;
  readonly createdAt: number;
  startedAt?: number | undefined;
  exit?: ExitStatus | undefined;
}

const limits = z.object({
  cpuMillis: z.number().optional(),
  memoryBytes: z.number().optional(),
  pids: z.number().optional(),
});

const schema = z.object({
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string().min(1),
  spec: z.looseObject({ name: z.string(), image: z.string() }),
  state: z.enum(['creating', 'restarting', 'created', 'running', 'paused', 'stopped', 'removing']),
  imageDigest: z.string().optional(),
  stopSignal: z.string(),
  limits,
  hosts: z.record(z.string(), z.string()).optional(),
  address: z.string().optional(),
  process: z.object({ pid: z.number().int().positive(), startTime: z.string() }).optional(),
  bootId: z.string(),
  createdAt: z.number(),
  startedAt: z.number().optional(),
  exit: z.object({ exitCode: z.number(), oomKilled: z.boolean(), finishedAt: z.number() }).optional(),
});

/** Checks the JSON of a `container.json`. Throws `STORE_CORRUPT` naming the file. */
export function parseRecord(json: unknown, path: string): ContainerRecord {
  const result = schema.safeParse(json);
  // The spec was validated field by field when the container was created, and only this package writes the file.
  if (result.success) return result.data as ContainerRecord;
  throw new ContainerError('STORE_CORRUPT', `cannot use ${path}: ${z.prettifyError(result.error)}`, {
    hint: 'ContainerEngine.repair() sets the damaged container aside',
    details: { path },
  });
}

/** What a spec looks like on disk: contents of secrets and values of secret variables are left out. */
export function withoutSecrets(spec: ContainerSpec): ContainerSpec {
  const secretNames = new Set(spec.secretEnvironment ?? []);
  const environment = Object.fromEntries(
    Object.entries(spec.environment ?? {}).map(([name, value]) => [
      name,
      secretNames.has(name) ? '***' : value,
    ]),
  );
  return {
    ...spec,
    ...(spec.environment === undefined ? {} : { environment }),
    ...(spec.secrets === undefined
      ? {}
      : { secrets: spec.secrets.map((secret) => ({ ...secret, content: '***' })) }),
  };
}

/** The public view of a record. A container being created or removed shows as the state nearest to it. */
export function toInfo(record: ContainerRecord, isolation: ContainerInfo['isolation']): ContainerInfo {
  const state = publicState(record);
  const live = state === 'running' || state === 'paused' || state === 'created';
  return {
    id: record.id,
    name: record.name,
    image: record.spec.image,
    ...(record.imageDigest === undefined ? {} : { imageDigest: record.imageDigest }),
    state,
    isolation,
    labels: record.spec.labels ?? {},
    ...(live && record.process !== undefined ? { pid: record.process.pid } : {}),
    ...(live && record.address !== undefined ? { address: record.address } : {}),
    ports: record.spec.ports ?? [],
    limits: record.limits,
    createdAt: record.createdAt,
    ...(record.startedAt === undefined ? {} : { startedAt: record.startedAt }),
    ...(record.exit === undefined ? {} : { exit: record.exit }),
  };
}

/** The contract's state of a record. */
export function publicState(record: ContainerRecord): ContainerState {
  if (record.state === 'creating') return 'created';
  return record.state === 'removing' || record.state === 'restarting' ? 'stopped' : record.state;
}
