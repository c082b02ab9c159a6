// What a client asks of Docker, as a spec of the engine's.

import type {
  ContainerHealthCheck,
  ContainerSpec,
  Mount,
  PublishedPort,
  ResourceLimits,
  Ulimit,
} from '@heptad/core';
import { parseBytes } from '@heptad/core';
import { weightOfShares } from '../docker/create-body.ts';
import { ContainerError } from '../errors.ts';
import type { CreateRequest, DockerLimits, HostConfigRequest } from './create-request.ts';

const NANOS_PER_MILLI = 1_000_000;
const DEFAULT_CPU_PERIOD_US = 100_000;

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Only the fields that have a value. */
export function present<T extends Record<string, unknown>>(fields: T): Present<T> {
  // Object.entries forgets the names; those kept have their types.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}

/** What the request alone does not settle. */
export interface Settled {
  readonly name: string;
  /** The name under which the image store has the image. */
  readonly image: string;
  readonly network: string | undefined;
  readonly networkAliases: readonly string[];
  readonly mounts: readonly Mount[];
  readonly ports: readonly PublishedPort[];
  /** For `host-gateway`. */
  readonly gateway: string | undefined;
}

/** The spec of a request. Throws `INVALID_ARGUMENT`, `NOT_SUPPORTED`. */
export function specOfRequest(request: CreateRequest, settled: Settled): ContainerSpec {
  const host: HostConfigRequest = request.HostConfig ?? {};
  const entrypoint = wordsOf(request.Entrypoint);
  const command = wordsOf(request.Cmd);
  return {
    name: settled.name,
    image: settled.image,
    mounts: settled.mounts,
    ports: settled.ports,
    limits: limitsOf(host),
    labels: request.Labels ?? {},
    environment: environmentOf(request.Env ?? []),
    tty: request.Tty ?? false,
    // The terminal's other half is held open either way; for a pipe this decides.
    openStdin: request.OpenStdin ?? false,
    ...present({
      entrypoint:
        entrypoint === undefined ? undefined : entrypoint.filter((word, at) => at > 0 || word !== ''),
      // Docker forgets the image's command once there is an entrypoint of its own.
      command: command ?? (entrypoint === undefined ? undefined : []),
      workingDirectory: request.WorkingDir || undefined,
      user: request.User || undefined,
      hostname: request.Hostname || undefined,
      stopSignal: request.StopSignal || undefined,
      network: settled.network,
      networkAliases: settled.networkAliases.length === 0 ? undefined : settled.networkAliases,
      hosts: hostsOf(host.ExtraHosts ?? [], settled.gateway),
      dns: dnsOf(host),
      groupAdd: host.GroupAdd ?? undefined,
      readOnlyRootfs: host.ReadonlyRootfs || undefined,
      capabilities: capabilitiesOf(host),
      logs: logsOf(host),
      restart: restartOf(host),
      healthCheck: healthCheckOf(request),
      init: host.Init ?? undefined,
      devices: host.Devices?.map(({ PathOnHost, PathInContainer, CgroupPermissions }) => ({
        hostPath: PathOnHost,
        ...(PathInContainer ? { containerPath: PathInContainer } : {}),
        ...(CgroupPermissions ? { permissions: CgroupPermissions } : {}),
      })),
      userNamespace: userNamespaceOf(host),
      sysctls: host.Sysctls ?? undefined,
      shmBytes: host.ShmSize || undefined,
      ulimits: ulimitsOf(host),
      oomScoreAdjust: host.OomScoreAdj || undefined,
      annotations: host.Annotations ?? undefined,
    }),
  };
}

/** Docker's limits as the engine's. */
export function limitsOf(host: DockerLimits): ResourceLimits {
  const quota =
    host.CpuQuota && host.CpuQuota > 0
      ? Math.round((host.CpuQuota / (host.CpuPeriod || DEFAULT_CPU_PERIOD_US)) * 1000)
      : undefined;
  const swap = host.MemorySwap;
  return present({
    cpuMillis: host.NanoCpus ? Math.round(host.NanoCpus / NANOS_PER_MILLI) : quota,
    memoryBytes: host.Memory || undefined,
    memorySwapBytes: host.Memory && swap ? swap : undefined,
    pids: host.PidsLimit && host.PidsLimit > 0 ? host.PidsLimit : undefined,
    cpuWeight: host.CpuShares ? Math.max(1, weightOfShares(host.CpuShares)) : undefined,
    cpuset: host.CpusetCpus || undefined,
    ioWeight: host.BlkioWeight ? Math.round(1 + ((host.BlkioWeight - 10) * 9_999) / 990) : undefined,
    ioThrottles: throttlesOf(host),
  });
}

function throttlesOf(host: DockerLimits): ResourceLimits['ioThrottles'] {
  const lists = [
    [host.BlkioDeviceReadBps, 'readBytesPerSecond'],
    [host.BlkioDeviceWriteBps, 'writeBytesPerSecond'],
    [host.BlkioDeviceReadIOps, 'readOperationsPerSecond'],
    [host.BlkioDeviceWriteIOps, 'writeOperationsPerSecond'],
  ] as const;
  const throttles = lists.flatMap(([list, field]) =>
    (list ?? []).map(({ Path, Rate }) => ({ device: Path, [field]: Rate })),
  );
  return throttles.length === 0 ? undefined : throttles;
}

function wordsOf(words: string | readonly string[] | null | undefined): readonly string[] | undefined {
  if (words === null || words === undefined) return undefined;
  if (typeof words === 'string') return words === '' ? undefined : [words];
  return words.length === 0 ? undefined : words;
}

/** `NAME=VALUE` lines; a name alone asks for nothing to be set. */
export function environmentOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.flatMap((line) => {
      const equals = line.indexOf('=');
      return equals < 1 ? [] : [[line.slice(0, equals), line.slice(equals + 1)] as const];
    }),
  );
}

function hostsOf(lines: readonly string[], gateway: string | undefined): Record<string, string> | undefined {
  if (lines.length === 0) return undefined;
  return Object.fromEntries(
    lines.map((line) => {
      // `name:address`, where the address may be IPv6; newer clients write `name=address`.
      const cut = line.search(/[:=]/);
      const address = line.slice(cut + 1);
      if (address !== 'host-gateway') return [line.slice(0, cut), address];
      if (gateway !== undefined) return [line.slice(0, cut), gateway];
      throw new ContainerError('INVALID_ARGUMENT', `cannot add host "${line}": the network has no gateway`);
    }),
  );
}

function dnsOf(host: HostConfigRequest): ContainerSpec['dns'] {
  const some = [host.Dns, host.DnsSearch, host.DnsOptions].some((list) => (list?.length ?? 0) > 0);
  if (!some) return undefined;
  return present({
    servers: host.Dns ?? undefined,
    search: host.DnsSearch ?? undefined,
    options: host.DnsOptions ?? undefined,
  });
}

function capabilitiesOf(host: HostConfigRequest): ContainerSpec['capabilities'] {
  const add = host.CapAdd ?? [];
  const drop = host.CapDrop ?? [];
  return add.length === 0 && drop.length === 0 ? undefined : { add, drop };
}

function logsOf(host: HostConfigRequest): ContainerSpec['logs'] {
  const { Type, Config } = host.LogConfig ?? {};
  if (Type && !['json-file', 'local', ''].includes(Type)) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot create the container: log driver "${Type}" is not supported`,
      {
        hint: 'the engine keeps rotated logs itself (json-file)',
      },
    );
  }
  const size = Config?.['max-size'];
  const files = Config?.['max-file'];
  if (size === undefined && files === undefined) return undefined;
  return {
    ...(size === undefined || size === '-1' ? {} : { maxBytes: parseBytes(size) }),
    ...(files === undefined ? {} : { maxFiles: Number(files) }),
  };
}

function restartOf(host: HostConfigRequest): ContainerSpec['restart'] {
  const { Name, MaximumRetryCount } = host.RestartPolicy ?? {};
  if (!Name || Name === 'no') return undefined;
  if (host.AutoRemove === true) {
    throw new ContainerError('INVALID_ARGUMENT', "can't create 'AutoRemove' container with restart policy");
  }
  if (Name === 'always' || Name === 'unless-stopped') return { policy: Name };
  if (Name !== 'on-failure') throw new ContainerError('INVALID_ARGUMENT', `invalid restart policy "${Name}"`);
  return { policy: Name, ...(MaximumRetryCount ? { maxRetries: MaximumRetryCount } : {}) };
}

/** The label by which a client of Docker's API chooses what is done with an unhealthy container. */
const ON_UNHEALTHY_LABEL = 'dev.heptad.on-unhealthy';

function healthCheckOf(request: CreateRequest): ContainerSpec['healthCheck'] {
  const check = request.Healthcheck;
  const [kind, ...rest] = check?.Test ?? [];
  if (check === null || check === undefined || kind === undefined) return undefined;
  if (kind === 'NONE') return 'none';
  const millis = (nanos: number | null | undefined): number | undefined =>
    nanos ? Math.round(nanos / NANOS_PER_MILLI) : undefined;
  const wish = request.Labels?.[ON_UNHEALTHY_LABEL];
  const onUnhealthy: ContainerHealthCheck['onUnhealthy'] =
    wish === 'restart' || wish === 'stop' ? wish : 'none';
  return {
    command:
      kind === 'CMD-SHELL' ? ['/bin/sh', '-c', rest.join(' ')] : kind === 'CMD' ? rest : [kind, ...rest],
    // As in Docker, which only tells of it; a label asks for more.
    onUnhealthy,
    ...present({
      intervalMs: millis(check.Interval),
      timeoutMs: millis(check.Timeout),
      retries: check.Retries || undefined,
      startPeriodMs: millis(check.StartPeriod),
      startIntervalMs: millis(check.StartInterval),
    }),
  };
}

function userNamespaceOf(host: HostConfigRequest): ContainerSpec['userNamespace'] {
  const mode = host.UsernsMode ?? '';
  if (mode === '') return undefined;
  if (mode === 'host' || mode === 'auto') return mode;
  throw new ContainerError(
    'NOT_SUPPORTED',
    `cannot create the container: UsernsMode "${mode}" is not supported`,
    {
      hint: 'use "host" or "auto"',
    },
  );
}

function ulimitsOf(host: HostConfigRequest): Readonly<Record<string, Ulimit>> | undefined {
  const list = host.Ulimits ?? [];
  if (list.length === 0) return undefined;
  return Object.fromEntries(list.map(({ Name, Soft, Hard }) => [Name, { soft: Soft, hard: Hard }]));
}
