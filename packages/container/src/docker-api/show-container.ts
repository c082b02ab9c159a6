// A container as Docker shows it: in a list, and whole.

import type { ContainerInfo, NetworkAttachment } from '@heptad/core';
import type { ApiContext } from './context.ts';
import type { ContainerSettings } from './settings.ts';

const NANOS_PER_MILLI = 1_000_000;
const NEVER = '0001-01-01T00:00:00Z';
const KIBI = 1024;
const DEFAULT_SHM_BYTES = 64 * KIBI * KIBI;

/** A time as Docker writes it. */
export function timeText(instant: number | undefined): string {
  // Through a number of milliseconds: the clock itself is asked only through its port.
  return instant === undefined ? NEVER : new Date(instant).toISOString();
}

/** Docker's word for a container's state. */
export function statusWord(info: ContainerInfo): string {
  if (info.state !== 'stopped') return info.state;
  return info.restartAt === undefined ? 'exited' : 'restarting';
}

/** Since when, in words. */
export function ago(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const units: readonly (readonly [number, string])[] = [
    [86_400 * 365, 'year'],
    [86_400 * 30, 'month'],
    [86_400 * 7, 'week'],
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
  ];
  if (seconds < 1) return 'Less than a second';
  const [size, unit] = units.find(([length]) => seconds >= length * (length === 60 ? 1 : 2)) ?? [1, 'second'];
  const count = Math.floor(seconds / size);
  if (count === 1 && unit === 'minute') return 'About a minute';
  if (count === 1 && unit === 'hour') return 'About an hour';
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** The status line of `docker ps`. */
export function statusLine(info: ContainerInfo, now: number): string {
  const health =
    info.health === undefined
      ? ''
      : ` (${info.health.status === 'starting' ? 'health: starting' : info.health.status})`;
  if (info.state === 'created') return 'Created';
  if (info.state === 'paused') return `Up ${ago(now - (info.startedAt ?? now))} (Paused)`;
  if (info.state === 'running') return `Up ${ago(now - (info.startedAt ?? now))}${health}`;
  const code = info.exit?.exitCode ?? 0;
  const since = `${ago(now - (info.exit?.finishedAt ?? now))} ago`;
  return info.restartAt === undefined ? `Exited (${code}) ${since}` : `Restarting (${code}) ${since}`;
}

/** A line of `GET /containers/json`. */
export function listedContainer(context: ApiContext, info: ContainerInfo): Record<string, unknown> {
  const settings = context.settings.get(info.id);
  return {
    Id: info.id,
    Names: [`/${info.name}`],
    Image: settings?.config.Image ?? info.image,
    ImageID: settings?.imageId ?? '',
    Command: info.command.join(' '),
    Created: Math.floor(info.createdAt / 1000),
    Ports: info.ports.map((port) => ({
      IP: port.hostAddress ?? '127.0.0.1',
      PrivatePort: port.containerPort,
      PublicPort: port.hostPort,
      Type: (port.protocol ?? 'TCP').toLowerCase(),
    })),
    Labels: info.labels,
    State: statusWord(info),
    Status: statusLine(info, context.clock.now()),
    HostConfig: { NetworkMode: networkMode(settings) },
    NetworkSettings: { Networks: networksOf(context, info, settings) },
    Mounts: mountPoints(context, info),
  };
}

/** The answer of `GET /containers/{id}/json`. */
export function inspectedContainer(context: ApiContext, info: ContainerInfo): Record<string, unknown> {
  const settings = context.settings.get(info.id);
  const [path = '', ...args] = info.command;
  const networks = networksOf(context, info, settings);
  const [first] = Object.values(networks);
  return {
    Id: info.id,
    Created: timeText(info.createdAt),
    Path: path,
    Args: args,
    State: stateOf(info),
    Image: settings?.imageId ?? '',
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: '',
    Name: `/${info.name}`,
    RestartCount: info.restartCount,
    Driver: 'overlay2',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: context.execs.running(info.id),
    HostConfig: hostConfigOf(info, settings),
    GraphDriver: { Name: 'overlay2', Data: {} },
    Mounts: mountPoints(context, info),
    Config: configOf(info, settings),
    NetworkSettings: {
      Bridge: '',
      SandboxID: '',
      HairpinMode: false,
      LinkLocalIPv6Address: '',
      LinkLocalIPv6PrefixLen: 0,
      Ports: info.state === 'running' || info.state === 'paused' ? boundPorts(info, settings) : {},
      SandboxKey: '',
      EndpointID: first?.EndpointID ?? '',
      Gateway: first?.Gateway ?? '',
      GlobalIPv6Address: '',
      GlobalIPv6PrefixLen: 0,
      IPAddress: first?.IPAddress ?? '',
      IPPrefixLen: first?.IPPrefixLen ?? 0,
      MacAddress: first?.MacAddress ?? '',
      Networks: networks,
    },
  };
}

function stateOf(info: ContainerInfo): Record<string, unknown> {
  const status = statusWord(info);
  return {
    Status: status,
    Running: info.state === 'running' || info.state === 'paused',
    Paused: info.state === 'paused',
    Restarting: status === 'restarting',
    OOMKilled: info.exit?.oomKilled ?? false,
    Dead: false,
    Pid: info.state === 'running' || info.state === 'paused' ? (info.pid ?? 0) : 0,
    ExitCode: info.state === 'stopped' ? (info.exit?.exitCode ?? 0) : 0,
    Error: info.error ?? '',
    StartedAt: timeText(info.startedAt),
    FinishedAt: timeText(info.exit?.finishedAt),
    ...(info.health === undefined
      ? {}
      : {
          Health: {
            Status: info.health.status,
            FailingStreak: info.health.failingStreak,
            Log: info.health.results.map((result) => ({
              Start: timeText(result.startedAt),
              End: timeText(result.finishedAt),
              ExitCode: result.exitCode,
              Output: result.output,
            })),
          },
        }),
  };
}

function configOf(info: ContainerInfo, settings: ContainerSettings | undefined): Record<string, unknown> {
  const asked = settings?.config ?? {};
  return {
    Domainname: '',
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    StdinOnce: false,
    ...asked,
    Hostname: info.hostname ?? info.id.slice(0, 12),
    User: info.user ?? '',
    Tty: info.tty,
    OpenStdin: info.openStdin,
    Env: Object.entries(info.environment).map(([name, value]) => `${name}=${value}`),
    Cmd: asked.Cmd ?? (asked.Entrypoint ? null : info.command),
    Image: asked.Image ?? info.image,
    Volumes: asked.Volumes ?? null,
    WorkingDir: info.workingDirectory ?? '',
    Entrypoint: asked.Entrypoint ?? null,
    Labels: info.labels,
    ...(info.stopSignal === undefined ? {} : { StopSignal: info.stopSignal }),
  };
}

function hostConfigOf(info: ContainerInfo, settings: ContainerSettings | undefined): Record<string, unknown> {
  const { limits } = info;
  return {
    Binds: null,
    ContainerIDFile: '',
    LogConfig: { Type: 'json-file', Config: {} },
    VolumesFrom: null,
    CapAdd: null,
    CapDrop: null,
    Privileged: false,
    ReadonlyRootfs: false,
    ShmSize: DEFAULT_SHM_BYTES,
    Runtime: 'runc',
    ...settings?.hostConfig,
    AutoRemove: settings?.autoRemove ?? false,
    NetworkMode: networkMode(settings),
    PortBindings: boundPorts(info, undefined),
    RestartPolicy: { Name: info.restart.policy, MaximumRetryCount: info.restart.maxRetries ?? 0 },
    // What holds now, which an update may have changed.
    NanoCpus: (limits.cpuMillis ?? 0) * NANOS_PER_MILLI,
    Memory: limits.memoryBytes ?? 0,
    MemorySwap: limits.memorySwapBytes ?? limits.memoryBytes ?? 0,
    PidsLimit: limits.pids ?? null,
    CpusetCpus: limits.cpuset ?? '',
  };
}

function networkMode(settings: ContainerSettings | undefined): string {
  const mode = settings?.hostConfig.NetworkMode;
  return typeof mode === 'string' && mode !== '' ? mode : 'default';
}

type Bindings = Record<string, { HostIp: string; HostPort: string }[] | null>;

/** Published ports by container port; those that the image or the client only exposes are null. */
function boundPorts(info: ContainerInfo, settings: ContainerSettings | undefined): Bindings {
  const bindings: Bindings = {};
  const exposed = settings?.config.ExposedPorts;
  for (const key of Object.keys(typeof exposed === 'object' && exposed !== null ? exposed : {}))
    bindings[key] = null;
  for (const port of info.ports) {
    const key = `${port.containerPort}/${(port.protocol ?? 'TCP').toLowerCase()}`;
    const list = bindings[key] ?? [];
    list.push({ HostIp: port.hostAddress ?? '127.0.0.1', HostPort: String(port.hostPort) });
    bindings[key] = list;
  }
  return bindings;
}

interface Endpoint {
  readonly NetworkID: string;
  readonly EndpointID: string;
  readonly Gateway: string;
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  readonly MacAddress: string;
  readonly Aliases: readonly string[] | null;
}

function networksOf(
  context: ApiContext,
  info: ContainerInfo,
  settings: ContainerSettings | undefined,
): Record<string, Endpoint> {
  const places = info.networks.length > 0 ? info.networks : [fallbackPlace(info, settings)];
  return Object.fromEntries(
    places.flatMap((place) => {
      const network = context.networks.named(place.name);
      if (network === undefined) return [];
      const prefix = Number(network.subnet?.split('/')[1] ?? 0);
      const endpoint: Endpoint = {
        NetworkID: network.id,
        EndpointID: place.address === undefined ? '' : info.id,
        Gateway: place.gateway ?? (place.address === undefined ? '' : (network.gateway ?? '')),
        IPAddress: place.address ?? '',
        IPPrefixLen: place.address === undefined ? 0 : prefix,
        MacAddress: place.macAddress ?? '',
        // On networks with names Docker finds a container by its short id, too, and Compose looks for it here.
        Aliases: network.removable
          ? [...(place.aliases ?? []), info.id.slice(0, 12)]
          : (place.aliases ?? null),
      };
      return [[network.name, endpoint] as const];
    }),
  );
}

/** A container that does not run is in its network still, without an address. */
function fallbackPlace(info: ContainerInfo, settings: ContainerSettings | undefined): NetworkAttachment {
  const mode = networkMode(settings);
  const name = mode === 'default' || mode === 'bridge' ? 'default' : mode;
  return { name, ...(info.address === undefined ? {} : { address: info.address }) };
}

function mountPoints(context: ApiContext, info: ContainerInfo): Record<string, unknown>[] {
  return info.mounts.map((mount) => {
    if (mount.type === 'tmpfs') {
      return { Type: 'tmpfs', Source: '', Destination: mount.target, Mode: '', RW: true, Propagation: '' };
    }
    const common = {
      Destination: mount.target,
      Mode: mount.readOnly === true ? 'ro' : '',
      RW: mount.readOnly !== true,
    };
    if (mount.type === 'bind') {
      return { Type: 'bind', Source: mount.source, ...common, Propagation: 'rprivate' };
    }
    const source = context.volumes.pathOf(mount.name);
    return { Type: 'volume', Name: mount.name, Source: source, Driver: 'local', ...common, Propagation: '' };
  });
}
