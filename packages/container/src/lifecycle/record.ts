// What is kept of a container on disk: the ground truth from which any later process goes on.

import type {
  ContainerHealth,
  ContainerHealthCheck,
  ContainerInfo,
  ContainerSpec,
  ContainerState,
  ExitedBy,
  ExitStatus,
  Mount,
  NetworkAttachment,
  ResourceLimits,
} from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { ProcessIdentity } from '../system/processes.ts';

/** States on disk: the public ones, and the two halves of an operation that a crash can leave. */
export type StoredState = 'creating' | 'restarting' | Exclude<ContainerState, 'removed'> | 'removing';

/** The content of `container.json`. Never holds a secret. */
export interface ContainerRecord {
  readonly version: 1;
  readonly id: string;
  name: string;
  /** As asked for, secrets left out. */
  readonly spec: ContainerSpec;
  state: StoredState;
  imageDigest?: string | undefined;
  stopSignal: string;
  limits: ResourceLimits;
  /** Extra lines of /etc/hosts: the spec's, until they are set anew. */
  hosts?: Readonly<Record<string, string>> | undefined;
  address?: string | undefined;
  networks?: readonly NetworkAttachment[] | undefined;
  /** What runs, spec and image together, without secrets. */
  command?: readonly string[] | undefined;
  environment?: Readonly<Record<string, string>> | undefined;
  workingDirectory?: string | undefined;
  user?: string | undefined;
  hostname?: string | undefined;
  /** Mounts beside the spec's: volumes of its own at the image's `VOLUME` paths. */
  imageVolumes?: readonly Mount[] | undefined;
  /** Names of those that go with it; set when it is removed. */
  unwantedVolumes?: readonly string[] | undefined;
  healthCheck?: ContainerHealthCheck | undefined;
  /** The main process, once it exists; meaningful only under `bootId`. */
  process?: ProcessIdentity | undefined;
  bootId: string;
  readonly createdAt: number;
  startedAt?: number | undefined;
  exit?: ExitStatus | undefined;
  /** Who ended it; while it still lives, who is about to. */
  exitedBy?: ExitedBy | undefined;
  /** Why the last start failed. */
  error?: string | undefined;
  /** Ended by hand: its restart policy rests. */
  stoppedByHand?: boolean | undefined;
  /** When the supervisor is to start it again. */
  restartAt?: number | undefined;
  restartCount?: number | undefined;
  /** Restarts since it last ran long enough to count as well: the exponent of the back-off. */
  restartStreak?: number | undefined;
  health?: ContainerHealth | undefined;
}

const schema = z.object({
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string().min(1),
  spec: z.looseObject({ name: z.string(), image: z.string() }),
  state: z.enum(['creating', 'restarting', 'created', 'running', 'paused', 'stopped', 'removing']),
  imageDigest: z.string().optional(),
  stopSignal: z.string(),
  limits: z.looseObject({}),
  hosts: z.record(z.string(), z.string()).optional(),
  address: z.string().optional(),
  networks: z.array(z.looseObject({ name: z.string() })).optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  workingDirectory: z.string().optional(),
  user: z.string().optional(),
  hostname: z.string().optional(),
  imageVolumes: z
    .array(z.object({ type: z.literal('volume'), name: z.string(), target: z.string() }))
    .optional(),
  unwantedVolumes: z.array(z.string()).optional(),
  healthCheck: z.looseObject({ command: z.array(z.string()) }).optional(),
  process: z.object({ pid: z.number().int().positive(), startTime: z.string() }).optional(),
  bootId: z.string(),
  createdAt: z.number(),
  startedAt: z.number().optional(),
  exit: z.object({ exitCode: z.number(), oomKilled: z.boolean(), finishedAt: z.number() }).optional(),
  exitedBy: z.enum(['itself', 'stop', 'kill', 'unhealthy', 'oom', 'unknown']).optional(),
  error: z.string().optional(),
  stoppedByHand: z.boolean().optional(),
  restartAt: z.number().optional(),
  restartCount: z.number().optional(),
  restartStreak: z.number().optional(),
  health: z
    .looseObject({
      status: z.enum(['starting', 'healthy', 'unhealthy']),
      failingStreak: z.number(),
      results: z.array(z.looseObject({ exitCode: z.number() })),
    })
    .optional(),
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
  const { spec } = record;
  return {
    id: record.id,
    name: record.name,
    image: spec.image,
    state,
    isolation,
    labels: spec.labels ?? {},
    ports: spec.ports ?? [],
    limits: record.limits,
    createdAt: record.createdAt,
    command: record.command ?? [...(spec.entrypoint ?? []), ...(spec.command ?? [])],
    environment: record.environment ?? spec.environment ?? {},
    mounts: mountsOf(record),
    networks: live ? attachments(record) : [],
    stopSignal: record.stopSignal,
    tty: spec.tty ?? false,
    openStdin: spec.openStdin ?? false,
    restart: spec.restart ?? { policy: 'no' },
    restartCount: record.restartCount ?? 0,
    ...present({
      imageDigest: record.imageDigest,
      pid: live ? record.process?.pid : undefined,
      address: live ? record.address : undefined,
      startedAt: record.startedAt,
      exit: record.exit,
      exitedBy: live ? undefined : record.exitedBy,
      error: record.error,
      workingDirectory: record.workingDirectory ?? spec.workingDirectory,
      user: record.user ?? spec.user,
      hostname: record.hostname ?? spec.hostname,
      restartAt: record.restartAt,
      health: record.health,
    }),
  };
}

function attachments(record: ContainerRecord): readonly NetworkAttachment[] {
  if (record.networks !== undefined) return record.networks;
  if (record.address === undefined) return [];
  return [{ name: record.spec.network ?? 'default', address: record.address }];
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Only the fields that have a value. */
function present<T extends Record<string, unknown>>(fields: T): Present<T> {
  // Object.entries forgets the names; those kept have their types.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}

/** All that is mounted: what the spec asks for, then the volumes of the image. */
export function mountsOf({ spec, imageVolumes }: ContainerRecord): readonly Mount[] {
  return [...(spec.mounts ?? []), ...(imageVolumes ?? [])];
}

/** The volumes of a container's own that no other container mounts. */
export function ownVolumes(record: ContainerRecord, all: readonly ContainerRecord[]): string[] {
  const others = all.filter((other) => other !== record).flatMap(mountsOf);
  return (record.imageVolumes ?? []).flatMap((mount) =>
    mount.type === 'volume' && !others.some((other) => other.type === 'volume' && other.name === mount.name)
      ? [mount.name]
      : [],
  );
}

/** The contract's state of a record. */
export function publicState(record: ContainerRecord): ContainerState {
  if (record.state === 'creating') return 'created';
  return record.state === 'removing' || record.state === 'restarting' ? 'stopped' : record.state;
}
