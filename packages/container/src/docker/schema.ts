// The parts of the Docker Engine's answers that this driver reads, checked before they are used.

import { z } from 'zod';
import { ContainerError } from '../errors.ts';

/** A container as the engine describes it. */
export interface DockerContainer {
  readonly Id: string;
  readonly Name: string;
  readonly Created: string;
  readonly HostsPath?: Maybe<string>;
  readonly Path?: Maybe<string>;
  readonly Args?: Maybe<readonly string[]>;
  readonly RestartCount?: Maybe<number>;
  readonly State: {
    readonly Status: string;
    readonly OOMKilled: boolean;
    readonly Pid: number;
    readonly ExitCode: number;
    readonly Error?: Maybe<string>;
    readonly StartedAt?: Maybe<string>;
    readonly FinishedAt?: Maybe<string>;
    readonly Health?: Maybe<DockerHealth>;
  };
  readonly Config: {
    readonly Image: string;
    readonly Labels?: Maybe<Readonly<Record<string, string>>>;
    readonly Env?: Maybe<readonly string[]>;
    readonly WorkingDir?: Maybe<string>;
    readonly User?: Maybe<string>;
    readonly Hostname?: Maybe<string>;
    readonly StopSignal?: Maybe<string>;
    readonly Tty: boolean;
    readonly OpenStdin: boolean;
  };
  readonly HostConfig: {
    readonly NetworkMode?: Maybe<string>;
    readonly ExtraHosts?: Maybe<readonly string[]>;
    readonly NanoCpus?: Maybe<number>;
    readonly Memory?: Maybe<number>;
    readonly MemorySwap?: Maybe<number>;
    readonly PidsLimit?: Maybe<number>;
    readonly CpuShares?: Maybe<number>;
    readonly CpusetCpus?: Maybe<string>;
    readonly BlkioWeight?: Maybe<number>;
    readonly Mounts?: Maybe<readonly DockerMount[]>;
    readonly RestartPolicy?: Maybe<{
      readonly Name?: Maybe<string>;
      readonly MaximumRetryCount?: Maybe<number>;
    }>;
    readonly PortBindings?: Maybe<Readonly<Record<string, readonly PortBinding[] | null>>>;
  };
  readonly NetworkSettings?: Maybe<{ readonly Networks?: Maybe<Readonly<Record<string, Endpoint>>> }>;
}

/** What the engine may leave out, or send as null. */
type Maybe<T> = T | null | undefined;

/** What the health checks of a container said. */
export interface DockerHealth {
  readonly Status: string;
  readonly FailingStreak: number;
  readonly Log?: Maybe<
    readonly {
      readonly Start: string;
      readonly End: string;
      readonly ExitCode: number;
      readonly Output: string;
    }[]
  >;
}

/** A mount as it was asked for. */
export interface DockerMount {
  readonly Type: string;
  readonly Target: string;
  readonly Source?: Maybe<string>;
  readonly ReadOnly?: Maybe<boolean>;
  readonly TmpfsOptions?: Maybe<{ readonly SizeBytes?: Maybe<number>; readonly Mode?: Maybe<number> }>;
}

/** Where a port is published. */
export interface PortBinding {
  readonly HostIp?: Maybe<string>;
  readonly HostPort?: Maybe<string>;
}

interface Endpoint {
  readonly IPAddress?: Maybe<string>;
  readonly Gateway?: Maybe<string>;
  readonly MacAddress?: Maybe<string>;
  readonly Aliases?: Maybe<readonly string[]>;
}

/** A reading of a container's use of resources. */
export interface DockerStats {
  readonly read: string;
  readonly cpu_stats: { readonly cpu_usage: { readonly total_usage: number } };
  readonly memory_stats: {
    readonly usage?: number | undefined;
    readonly stats?: Readonly<Record<string, number>> | null | undefined;
  };
  readonly pids_stats?: { readonly current?: number | null | undefined } | undefined;
  readonly networks?:
    | Readonly<Record<string, { readonly rx_bytes: number; readonly tx_bytes: number }>>
    | null
    | undefined;
  readonly blkio_stats?:
    | {
        readonly io_service_bytes_recursive?:
          | readonly { readonly op: string; readonly value: number }[]
          | null
          | undefined;
      }
    | null
    | undefined;
}

/** Something that happened. */
export interface DockerEvent {
  readonly Action: string;
  readonly Actor: {
    readonly ID: string;
    readonly Attributes?: Readonly<Record<string, string>> | null | undefined;
  };
  readonly timeNano: number;
}

/** The engine itself. */
export interface DockerInfo {
  readonly ServerVersion: string;
  readonly MemoryLimit: boolean;
  readonly PidsLimit: boolean;
  readonly CpuCfsQuota: boolean;
  readonly InitBinary?: string | undefined;
  readonly Warnings?: readonly string[] | null | undefined;
}

const text = z.string().nullish();
const count = z.number().nullish();
const texts = z.array(z.string()).nullish();

const stateSchema = z.object({
  Status: z.string(),
  OOMKilled: z.boolean().default(false),
  Pid: z.number().default(0),
  ExitCode: z.number().default(0),
  Error: text,
  StartedAt: text,
  FinishedAt: text,
  Health: z
    .object({
      Status: z.string(),
      FailingStreak: z.number().default(0),
      Log: z
        .array(z.object({ Start: z.string(), End: z.string(), ExitCode: z.number(), Output: z.string() }))
        .nullish(),
    })
    .nullish(),
});

const configSchema = z.object({
  Image: z.string().default(''),
  Labels: z.record(z.string(), z.string()).nullish(),
  Env: texts,
  WorkingDir: text,
  User: text,
  Hostname: text,
  StopSignal: text,
  Tty: z.boolean().default(false),
  OpenStdin: z.boolean().default(false),
});

const hostConfigSchema = z.object({
  NetworkMode: text,
  ExtraHosts: texts,
  NanoCpus: count,
  Memory: count,
  MemorySwap: count,
  PidsLimit: count,
  CpuShares: count,
  CpusetCpus: text,
  BlkioWeight: count,
  Mounts: z
    .array(
      z.object({
        Type: z.string(),
        Target: z.string(),
        Source: text,
        ReadOnly: z.boolean().nullish(),
        TmpfsOptions: z.object({ SizeBytes: count, Mode: count }).nullish(),
      }),
    )
    .nullish(),
  RestartPolicy: z.object({ Name: text, MaximumRetryCount: count }).nullish(),
  PortBindings: z
    .record(z.string(), z.array(z.object({ HostIp: text, HostPort: text })).nullable())
    .nullish(),
});

const containerSchema: z.ZodType<DockerContainer> = z.object({
  Id: z.string().regex(/^[0-9a-f]{64}$/),
  Name: z.string(),
  Created: z.string(),
  HostsPath: text,
  Path: text,
  Args: texts,
  RestartCount: count,
  State: stateSchema,
  Config: configSchema,
  HostConfig: hostConfigSchema,
  NetworkSettings: z
    .object({
      Networks: z
        .record(z.string(), z.object({ IPAddress: text, Gateway: text, MacAddress: text, Aliases: texts }))
        .nullish(),
    })
    .nullish(),
});

const statsSchema: z.ZodType<DockerStats> = z.object({
  read: z.string(),
  cpu_stats: z.object({ cpu_usage: z.object({ total_usage: z.number() }) }),
  memory_stats: z.object({
    usage: z.number().optional(),
    stats: z.record(z.string(), z.number()).nullish(),
  }),
  pids_stats: z.object({ current: z.number().nullish() }).optional(),
  networks: z.record(z.string(), z.object({ rx_bytes: z.number(), tx_bytes: z.number() })).nullish(),
  blkio_stats: z
    .object({
      io_service_bytes_recursive: z.array(z.object({ op: z.string(), value: z.number() })).nullish(),
    })
    .nullish(),
});

const eventSchema: z.ZodType<DockerEvent> = z.object({
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()).nullish() }),
  timeNano: z.number(),
});

const infoSchema: z.ZodType<DockerInfo> = z.object({
  ServerVersion: z.string().default('unknown'),
  MemoryLimit: z.boolean().default(true),
  PidsLimit: z.boolean().default(true),
  CpuCfsQuota: z.boolean().default(true),
  InitBinary: z.string().optional(),
  Warnings: z.array(z.string()).nullish(),
});

function parse<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new ContainerError(
    'RUNTIME_FAILED',
    `cannot understand Docker's ${what}: ${z.prettifyError(result.error)}`,
    { hint: 'this may not be a Docker Engine, or one whose answers changed; update @heptad/container' },
  );
}

/** Checks the answer of `GET /containers/{id}/json`. */
export function parseContainer(json: unknown): DockerContainer {
  return parse(containerSchema, json, 'description of a container');
}

/** Checks the answer of `GET /containers/{id}/stats`. */
export function parseStats(json: unknown): DockerStats {
  return parse(statsSchema, json, 'figures of a container');
}

/** Checks one line of `GET /events`; undefined for a line that is no event. */
export function parseEvent(json: unknown): DockerEvent | undefined {
  const result = eventSchema.safeParse(json);
  return result.success ? result.data : undefined;
}

/** Checks the answer of `GET /info`. */
export function parseInfo(json: unknown): DockerInfo {
  return parse(infoSchema, json, 'description of itself');
}

/** The ids in the answer of `GET /containers/json`. */
export function parseIds(json: unknown): string[] {
  return parse(z.array(z.object({ Id: z.string() })), json, 'list of containers').map(({ Id }) => Id);
}

/** The `Id` of something made. */
export function parseId(json: unknown): string {
  return parse(z.object({ Id: z.string() }), json, 'answer to a creation').Id;
}

/** How an exec is. */
export function parseExec(json: unknown): { running: boolean; exitCode: number; pid: number } {
  const exec = parse(
    z.object({ Running: z.boolean(), ExitCode: z.number().nullish(), Pid: z.number().nullish() }),
    json,
    'description of an exec',
  );
  return { running: exec.Running, exitCode: exec.ExitCode ?? 255, pid: exec.Pid ?? 0 };
}

/** The exit code in the answer of `POST /containers/{id}/wait`. */
export function parseWait(json: unknown): number {
  return parse(z.object({ StatusCode: z.number() }), json, 'answer to a wait').StatusCode;
}
