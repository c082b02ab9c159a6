// A spec of Heptad's as the body of Docker's `POST /containers/create`. Pure.

import type {
  ContainerHealthCheck,
  ContainerSpec,
  IoThrottle,
  Mount,
  PublishedPort,
  ResourceLimits,
} from '@heptad/core';
import { effectiveCapabilities } from '../oci/capabilities.ts';
import { CREATION_LABEL, ON_UNHEALTHY_LABEL, OWNER_LABEL, SECRET_ENVIRONMENT_LABEL } from './labels.ts';

// Docker's own default, unlimited, lets one fork bomb take the machine's process table.
const DEFAULT_PIDS_LIMIT = 1024;
/** Docker counts CPUs in billionths. */
export const NANOS_PER_MILLI = 1_000_000;
const DEFAULT_LOG_BYTES = 10 * 1024 * 1024;
const DEFAULT_LOG_FILES = 5;

/** What a spec needs beside itself. */
export interface CreationContext {
  readonly owner: string;
  readonly creation: string;
  readonly defaultNetwork: string;
  /** Host path of each secret, in the order of the spec. */
  readonly secretPaths: readonly string[];
}

type Body = Record<string, unknown>;

/** Only the fields that have a value. */
function present(fields: Body): Body {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** The body of `POST /containers/create`. */
export function createBody(spec: ContainerSpec, context: CreationContext): Body {
  const network = spec.network ?? context.defaultNetwork;
  return present({
    Image: spec.image,
    // Docker takes an empty list for "as the image says", and one empty string for none.
    Entrypoint: spec.entrypoint?.length === 0 ? [''] : spec.entrypoint,
    Cmd: spec.command,
    Env: Object.entries(spec.environment ?? {}).map(([name, value]) => `${name}=${value}`),
    WorkingDir: spec.workingDirectory,
    User: spec.user,
    Hostname: spec.hostname,
    StopSignal: spec.stopSignal,
    Tty: spec.tty ?? false,
    // Nobody could type into a terminal otherwise.
    OpenStdin: spec.tty ?? false,
    Healthcheck: healthCheck(spec.healthCheck),
    Labels: labels(spec, context),
    ExposedPorts: Object.fromEntries((spec.ports ?? []).map((port) => [portKey(port), {}])),
    HostConfig: hostConfig(spec, context, network),
    NetworkingConfig:
      spec.networkAliases === undefined
        ? undefined
        : { EndpointsConfig: { [network]: { Aliases: spec.networkAliases } } },
  });
}

function labels(spec: ContainerSpec, context: CreationContext): Record<string, string> {
  const check = spec.healthCheck;
  const action = check === undefined || check === 'none' ? undefined : check.onUnhealthy;
  return {
    ...spec.labels,
    [OWNER_LABEL]: context.owner,
    [CREATION_LABEL]: context.creation,
    ...(spec.secretEnvironment === undefined
      ? {}
      : { [SECRET_ENVIRONMENT_LABEL]: spec.secretEnvironment.join(',') }),
    ...(action === undefined ? {} : { [ON_UNHEALTHY_LABEL]: action }),
  };
}

function healthCheck(check: ContainerHealthCheck | 'none' | undefined): Body | undefined {
  if (check === undefined) return undefined;
  if (check === 'none') return { Test: ['NONE'] };
  const nanos = (ms: number | undefined): number | undefined =>
    ms === undefined ? undefined : ms * NANOS_PER_MILLI;
  return present({
    Test: ['CMD', ...check.command],
    Interval: nanos(check.intervalMs),
    Timeout: nanos(check.timeoutMs),
    Retries: check.retries,
    StartPeriod: nanos(check.startPeriodMs),
    StartInterval: nanos(check.startIntervalMs),
  });
}

function hostConfig(spec: ContainerSpec, context: CreationContext, network: string): Body {
  const secrets = (spec.secrets ?? []).map((secret, index) => ({
    Type: 'bind',
    Source: context.secretPaths[index],
    Target: secret.target,
    ReadOnly: true,
  }));
  const restart = spec.restart ?? { policy: 'no' };
  return present({
    NetworkMode: network,
    ...limitFields({ pids: DEFAULT_PIDS_LIMIT, ...spec.limits }),
    PortBindings: portBindings(spec.ports ?? []),
    Mounts: [...(spec.mounts ?? []).map(mountBody), ...secrets],
    ExtraHosts: Object.entries(spec.hosts ?? {}).map(([name, address]) => `${name}:${address}`),
    Dns: spec.dns?.servers,
    DnsSearch: spec.dns?.search,
    DnsOptions: spec.dns?.options,
    RestartPolicy: { Name: restart.policy, MaximumRetryCount: restart.maxRetries ?? 0 },
    Init: spec.init,
    GroupAdd: spec.groupAdd,
    Devices: spec.devices?.map(({ hostPath, containerPath, permissions }) => ({
      PathOnHost: hostPath,
      PathInContainer: containerPath ?? hostPath,
      CgroupPermissions: permissions ?? 'rw',
    })),
    Sysctls: spec.sysctls,
    ShmSize: spec.shmBytes,
    Ulimits: Object.entries(spec.ulimits ?? {}).map(([Name, { soft, hard }]) => ({
      Name,
      Soft: soft,
      Hard: hard,
    })),
    OomScoreAdj: spec.oomScoreAdjust,
    Annotations: spec.annotations,
    ReadonlyRootfs: spec.readOnlyRootfs ?? false,
    // Not Docker's defaults but this package's: a container must hold as well here as under the other drivers.
    SecurityOpt: ['no-new-privileges'],
    CapDrop: ['ALL'],
    CapAdd: effectiveCapabilities(spec.capabilities).map((name) => name.slice('CAP_'.length)),
    LogConfig: {
      Type: 'json-file',
      Config: {
        'max-size': String(spec.logs?.maxBytes ?? DEFAULT_LOG_BYTES),
        'max-file': String(spec.logs?.maxFiles ?? DEFAULT_LOG_FILES),
      },
    },
  });
}

/** Limits as fields of a HostConfig, and of an update. Swap is not given on top of memory: the limit is the limit. */
export function limitFields(limits: ResourceLimits): Body {
  const throttles = limits.ioThrottles;
  return present({
    NanoCpus: limits.cpuMillis === undefined ? undefined : limits.cpuMillis * NANOS_PER_MILLI,
    Memory: limits.memoryBytes,
    MemorySwap: limits.memorySwapBytes ?? limits.memoryBytes,
    PidsLimit: limits.pids,
    CpuShares: limits.cpuWeight === undefined ? undefined : sharesOfWeight(limits.cpuWeight),
    CpusetCpus: limits.cpuset,
    BlkioWeight: limits.ioWeight === undefined ? undefined : blkioOfWeight(limits.ioWeight),
    BlkioDeviceReadBps: throttleList(throttles, 'readBytesPerSecond'),
    BlkioDeviceWriteBps: throttleList(throttles, 'writeBytesPerSecond'),
    BlkioDeviceReadIOps: throttleList(throttles, 'readOperationsPerSecond'),
    BlkioDeviceWriteIOps: throttleList(throttles, 'writeOperationsPerSecond'),
  });
}

/** cgroup v2's 1..10000 as v1's shares 2..262144: the inverse of what runc does with shares on cgroup v2. */
export function sharesOfWeight(weight: number): number {
  return Math.round(2 + ((weight - 1) * 262_142) / 9_999);
}

/** {@link sharesOfWeight} back. */
export function weightOfShares(shares: number): number {
  return Math.round(1 + ((shares - 2) * 9_999) / 262_142);
}

/** cgroup v2's 1..10000 as v1's 10..1000. */
export function blkioOfWeight(weight: number): number {
  return Math.round(10 + ((weight - 1) * 990) / 9_999);
}

function throttleList(
  throttles: readonly IoThrottle[] | undefined,
  field: Exclude<keyof IoThrottle, 'device'>,
): Body[] | undefined {
  return throttles?.flatMap((throttle) => {
    const rate = throttle[field];
    // The kernel's own directory of devices by number.
    const path = throttle.device.startsWith('/') ? throttle.device : `/dev/block/${throttle.device}`;
    return rate === undefined ? [] : [{ Path: path, Rate: rate }];
  });
}

function mountBody(mount: Mount): Body {
  if (mount.type === 'tmpfs') {
    const options = present({ SizeBytes: mount.sizeBytes, Mode: mount.mode ?? 0o1777 });
    return { Type: 'tmpfs', Target: mount.target, TmpfsOptions: options };
  }
  return {
    Type: mount.type,
    Source: mount.type === 'bind' ? mount.source : mount.name,
    Target: mount.target,
    ReadOnly: mount.readOnly ?? false,
  };
}

function portKey(port: PublishedPort): string {
  return `${port.containerPort}/${(port.protocol ?? 'TCP').toLowerCase()}`;
}

function portBindings(ports: readonly PublishedPort[]): Record<string, Body[]> {
  const bindings: Record<string, Body[]> = {};
  for (const port of ports) {
    const list = bindings[portKey(port)] ?? [];
    bindings[portKey(port)] = list;
    // Docker's default is every address of the machine; ours is the machine itself.
    list.push({ HostIp: port.hostAddress ?? '127.0.0.1', HostPort: String(port.hostPort) });
  }
  return bindings;
}
