// The body of Docker's `POST /containers/create`, checked: what is understood, and what must be refused by name.

import { z } from 'zod';

/** What a client may leave out, or send as null. */
type Maybe<T> = T | null | undefined;
type Texts = Maybe<readonly string[]>;
type Words = Maybe<string | readonly string[]>;
type Labels = Maybe<Readonly<Record<string, string>>>;
type Keys = Maybe<Readonly<Record<string, unknown>>>;
type Throttles = Maybe<readonly { readonly Path: string; readonly Rate: number }[]>;

/** Limits as Docker writes them, in a HostConfig and in an update. */
export interface DockerLimits {
  readonly Memory?: Maybe<number>;
  readonly MemorySwap?: Maybe<number>;
  readonly NanoCpus?: Maybe<number>;
  readonly CpuQuota?: Maybe<number>;
  readonly CpuPeriod?: Maybe<number>;
  readonly CpuShares?: Maybe<number>;
  readonly CpusetCpus?: Maybe<string>;
  readonly PidsLimit?: Maybe<number>;
  readonly BlkioWeight?: Maybe<number>;
  readonly BlkioDeviceReadBps?: Throttles;
  readonly BlkioDeviceWriteBps?: Throttles;
  readonly BlkioDeviceReadIOps?: Throttles;
  readonly BlkioDeviceWriteIOps?: Throttles;
}

/** The body of an update. */
export interface UpdateRequest extends DockerLimits {
  readonly RestartPolicy?: Maybe<RestartPolicyRequest>;
}

/** A restart policy. */
export interface RestartPolicyRequest {
  readonly Name?: Maybe<string>;
  readonly MaximumRetryCount?: Maybe<number>;
}

/** One of `Mounts`. */
export interface MountRequest {
  readonly Type: string;
  readonly Target: string;
  readonly Source?: Maybe<string>;
  readonly ReadOnly?: Maybe<boolean>;
  readonly TmpfsOptions?: Maybe<{ readonly SizeBytes?: Maybe<number>; readonly Mode?: Maybe<number> }>;
}

/** Where a port is wanted. */
export interface PortBindingRequest {
  readonly HostIp?: Maybe<string>;
  readonly HostPort?: Maybe<string>;
}

/** A HostConfig. */
export interface HostConfigRequest extends DockerLimits {
  readonly Binds?: Texts;
  readonly Mounts?: Maybe<readonly MountRequest[]>;
  readonly Tmpfs?: Labels;
  readonly NetworkMode?: Maybe<string>;
  readonly PortBindings?: Maybe<Readonly<Record<string, readonly PortBindingRequest[] | null>>>;
  readonly PublishAllPorts?: Maybe<boolean>;
  readonly RestartPolicy?: Maybe<RestartPolicyRequest>;
  readonly AutoRemove?: Maybe<boolean>;
  readonly CapAdd?: Texts;
  readonly CapDrop?: Texts;
  readonly Dns?: Texts;
  readonly DnsOptions?: Texts;
  readonly DnsSearch?: Texts;
  readonly ExtraHosts?: Texts;
  readonly GroupAdd?: Texts;
  readonly Init?: Maybe<boolean>;
  readonly ReadonlyRootfs?: Maybe<boolean>;
  readonly SecurityOpt?: Texts;
  readonly Sysctls?: Labels;
  readonly ShmSize?: Maybe<number>;
  readonly Ulimits?: Maybe<
    readonly { readonly Name: string; readonly Soft: number; readonly Hard: number }[]
  >;
  readonly OomScoreAdj?: Maybe<number>;
  readonly UsernsMode?: Maybe<string>;
  readonly Devices?: Maybe<
    readonly {
      readonly PathOnHost: string;
      readonly PathInContainer?: Maybe<string>;
      readonly CgroupPermissions?: Maybe<string>;
    }[]
  >;
  readonly LogConfig?: Maybe<{ readonly Type?: Maybe<string>; readonly Config?: Labels }>;
  readonly Annotations?: Labels;
}

/** A health check. */
export interface HealthcheckRequest {
  readonly Test?: Texts;
  readonly Interval?: Maybe<number>;
  readonly Timeout?: Maybe<number>;
  readonly Retries?: Maybe<number>;
  readonly StartPeriod?: Maybe<number>;
  readonly StartInterval?: Maybe<number>;
}

/** A place in a network. */
export interface EndpointRequest {
  readonly Aliases?: Texts;
  readonly IPAMConfig?: Maybe<{ readonly IPv4Address?: Maybe<string>; readonly IPv6Address?: Maybe<string> }>;
}

/** The body of a creation. */
export interface CreateRequest {
  readonly Image: string;
  readonly Hostname?: Maybe<string>;
  readonly Domainname?: Maybe<string>;
  readonly User?: Maybe<string>;
  readonly AttachStdin?: Maybe<boolean>;
  readonly Tty?: Maybe<boolean>;
  readonly OpenStdin?: Maybe<boolean>;
  readonly StdinOnce?: Maybe<boolean>;
  readonly Env?: Texts;
  readonly Cmd?: Words;
  readonly Entrypoint?: Words;
  readonly WorkingDir?: Maybe<string>;
  readonly Labels?: Labels;
  readonly StopSignal?: Maybe<string>;
  readonly StopTimeout?: Maybe<number>;
  readonly ExposedPorts?: Keys;
  readonly Volumes?: Keys;
  readonly Healthcheck?: Maybe<HealthcheckRequest>;
  readonly NetworkDisabled?: Maybe<boolean>;
  readonly HostConfig?: Maybe<HostConfigRequest>;
  readonly NetworkingConfig?: Maybe<{
    readonly EndpointsConfig?: Maybe<Readonly<Record<string, EndpointRequest | null>>>;
  }>;
}

const text = z.string().nullish();
const count = z.number().nullish();
const flag = z.boolean().nullish();
const texts = z.array(z.string()).nullish();
const words = z.union([z.string(), z.array(z.string())]).nullish();
const labels = z.record(z.string(), z.string()).nullish();
const keys = z.record(z.string(), z.unknown()).nullish();

const healthcheck = z
  .looseObject({
    Test: texts,
    Interval: count,
    Timeout: count,
    Retries: count,
    StartPeriod: count,
    StartInterval: count,
  })
  .nullish();

const mount = z.looseObject({
  Type: z.string(),
  Target: z.string(),
  Source: text,
  ReadOnly: flag,
  TmpfsOptions: z.looseObject({ SizeBytes: count, Mode: count }).nullish(),
});

const throttle = z.array(z.object({ Path: z.string(), Rate: z.number() })).nullish();

const hostConfig = z.looseObject({
  Binds: texts,
  Mounts: z.array(mount).nullish(),
  Tmpfs: z.record(z.string(), z.string()).nullish(),
  NetworkMode: text,
  PortBindings: z
    .record(z.string(), z.array(z.object({ HostIp: text, HostPort: text })).nullable())
    .nullish(),
  PublishAllPorts: flag,
  RestartPolicy: z.looseObject({ Name: text, MaximumRetryCount: count }).nullish(),
  AutoRemove: flag,
  CapAdd: texts,
  CapDrop: texts,
  Dns: texts,
  DnsOptions: texts,
  DnsSearch: texts,
  ExtraHosts: texts,
  GroupAdd: texts,
  Init: flag,
  ReadonlyRootfs: flag,
  SecurityOpt: texts,
  Sysctls: labels,
  ShmSize: count,
  Ulimits: z.array(z.object({ Name: z.string(), Soft: z.number(), Hard: z.number() })).nullish(),
  OomScoreAdj: count,
  UsernsMode: text,
  Devices: z
    .array(z.object({ PathOnHost: z.string(), PathInContainer: text, CgroupPermissions: text }))
    .nullish(),
  LogConfig: z.looseObject({ Type: text, Config: labels }).nullish(),
  Memory: count,
  MemorySwap: count,
  NanoCpus: count,
  CpuQuota: count,
  CpuPeriod: count,
  CpuShares: count,
  CpusetCpus: text,
  PidsLimit: count,
  BlkioWeight: count,
  BlkioDeviceReadBps: throttle,
  BlkioDeviceWriteBps: throttle,
  BlkioDeviceReadIOps: throttle,
  BlkioDeviceWriteIOps: throttle,
  Annotations: labels,
});

const createSchema = z.looseObject({
  Image: z.string().default(''),
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: flag,
  Tty: flag,
  OpenStdin: flag,
  StdinOnce: flag,
  Env: texts,
  Cmd: words,
  Entrypoint: words,
  WorkingDir: text,
  Labels: labels,
  StopSignal: text,
  StopTimeout: count,
  ExposedPorts: keys,
  Volumes: keys,
  Healthcheck: healthcheck,
  NetworkDisabled: flag,
  HostConfig: hostConfig.nullish(),
  NetworkingConfig: z
    .looseObject({
      EndpointsConfig: z
        .record(
          z.string(),
          z
            .looseObject({
              Aliases: texts,
              IPAMConfig: z.looseObject({ IPv4Address: text, IPv6Address: text }).nullish(),
            })
            .nullable(),
        )
        .nullish(),
    })
    .nullish(),
});

/** Checks the body of a creation. */
export const createRequestSchema: z.ZodType<CreateRequest> = createSchema;
/** Checks the body of an update. */
export const updateRequestSchema: z.ZodType<UpdateRequest> = hostConfig;
