// A container as Docker describes it, in the contract's words. Pure.

import type {
  ContainerHealth,
  ContainerInfo,
  ContainerState,
  ContainerStats,
  ExitedBy,
  ExitStatus,
  Mount,
  NetworkAttachment,
  PublishedPort,
  ResourceLimits,
  RestartPolicy,
} from '@heptad/core';
import { blkioOfWeight, NANOS_PER_MILLI, weightOfShares } from './create-body.ts';
import { CREATION_LABEL, SECRET_ENVIRONMENT_LABEL, userLabels } from './labels.ts';
import type { DockerContainer, DockerStats } from './schema.ts';
import { instantOf } from './times.ts';

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Only the fields that have a value. */
function present<T extends Record<string, unknown>>(fields: T): Present<T> {
  // Object.entries forgets the names; those kept have their types.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}

/** Docker's word for a state in ours. */
export function stateOf(container: DockerContainer): ContainerState {
  switch (container.State.Status) {
    case 'created':
    case 'running':
    case 'paused':
      return container.State.Status;
    default:
      // exited, dead, restarting (between two runs) and removing: its process does not run.
      return 'stopped';
  }
}

/** The name without Docker's slash. */
export function nameOf(container: DockerContainer): string {
  return container.Name.replace(/^\//, '');
}

/** How it ended, for one that has run. */
export function exitOf(container: DockerContainer): ExitStatus | undefined {
  const finishedAt = instantOf(container.State.FinishedAt);
  if (finishedAt === undefined) return undefined;
  return { exitCode: container.State.ExitCode, oomKilled: container.State.OOMKilled, finishedAt };
}

/** A container as the contract describes it. `noted` is what the engine does not know of it. */
export function infoOf(
  container: DockerContainer,
  noted: { readonly exitedBy?: ExitedBy; readonly restarts?: number } = {},
): ContainerInfo {
  const state = stateOf(container);
  const live = state === 'running' || state === 'paused';
  const { Config, State, HostConfig } = container;
  const networks = live ? attachments(container) : [];
  const ended = state === 'stopped';
  return {
    id: container.Id,
    name: nameOf(container),
    image: Config.Image,
    state,
    isolation: 'container',
    labels: userLabels(Config.Labels ?? {}),
    ports: publishedPorts(container),
    limits: limitsOf(container),
    createdAt: instantOf(container.Created) ?? 0,
    command: [container.Path ?? '', ...(container.Args ?? [])].filter((part, at) => at > 0 || part !== ''),
    environment: environmentOf(container),
    mounts: mountsOf(container),
    networks,
    tty: Config.Tty,
    openStdin: Config.OpenStdin,
    restart: restartOf(container),
    restartCount: (container.RestartCount ?? 0) + (noted.restarts ?? 0),
    ...present({
      pid: live && State.Pid > 0 ? State.Pid : undefined,
      address: networks.find(({ address }) => address !== undefined)?.address,
      startedAt: instantOf(State.StartedAt),
      exit: ended ? exitOf(container) : undefined,
      exitedBy: ended ? (State.OOMKilled ? 'oom' : noted.exitedBy) : undefined,
      error: State.Error || undefined,
      workingDirectory: Config.WorkingDir || undefined,
      user: Config.User || undefined,
      hostname: Config.Hostname || undefined,
      stopSignal: Config.StopSignal || 'SIGTERM',
      health: healthOf(container),
      restartAt: restartAtOf(container),
    }),
    ...(HostConfig.NetworkMode === 'host' ? { networks: [] } : {}),
  };
}

function environmentOf(container: DockerContainer): Record<string, string> {
  const secret = new Set((container.Config.Labels?.[SECRET_ENVIRONMENT_LABEL] ?? '').split(','));
  return Object.fromEntries(
    (container.Config.Env ?? []).map((line) => {
      const name = line.split('=', 1)[0] ?? '';
      return [name, secret.has(name) ? '***' : line.slice(name.length + 1)];
    }),
  );
}

function mountsOf(container: DockerContainer): Mount[] {
  const creation = container.Config.Labels?.[CREATION_LABEL];
  const mounts = (container.HostConfig.Mounts ?? []).flatMap((mount): Mount[] => {
    const readOnly = mount.ReadOnly === true ? { readOnly: true } : {};
    if (mount.Type === 'tmpfs') {
      const options = present({
        sizeBytes: mount.TmpfsOptions?.SizeBytes || undefined,
        mode: mount.TmpfsOptions?.Mode ?? undefined,
      });
      return [{ type: 'tmpfs', target: mount.Target, ...options }];
    }
    const source = mount.Source ?? '';
    if (mount.Type === 'volume') return [{ type: 'volume', name: source, target: mount.Target, ...readOnly }];
    // Secrets are binds of this driver's making, and never shown.
    if (mount.Type !== 'bind' || (creation !== undefined && source.includes(`/${creation}/`))) return [];
    return [{ type: 'bind', source, target: mount.Target, ...readOnly }];
  });
  return mounts;
}

function attachments(container: DockerContainer): NetworkAttachment[] {
  return Object.entries(container.NetworkSettings?.Networks ?? {})
    .filter(([name]) => name !== 'none' && name !== 'host')
    .map(([name, endpoint]) => ({
      name,
      ...present({
        address: endpoint.IPAddress || undefined,
        gateway: endpoint.Gateway || undefined,
        macAddress: endpoint.MacAddress || undefined,
        aliases: endpoint.Aliases ?? undefined,
      }),
    }));
}

function restartOf(container: DockerContainer): RestartPolicy {
  const { Name, MaximumRetryCount } = container.HostConfig.RestartPolicy ?? {};
  if (Name === 'always' || Name === 'unless-stopped') return { policy: Name };
  if (Name !== 'on-failure') return { policy: 'no' };
  return { policy: Name, ...(MaximumRetryCount ? { maxRetries: MaximumRetryCount } : {}) };
}

/** The engine does not tell when; its back-off is known: 100 ms, doubled with each restart up to a minute. */
function restartAtOf(container: DockerContainer): number | undefined {
  if (container.State.Status !== 'restarting') return undefined;
  const backOff = Math.min(60_000, 100 * 2 ** Math.max(0, (container.RestartCount ?? 1) - 1));
  return (instantOf(container.State.FinishedAt) ?? 0) + backOff;
}

function healthOf(container: DockerContainer): ContainerHealth | undefined {
  const health = container.State.Health;
  if (health === null || health === undefined) return undefined;
  const { Status } = health;
  if (Status !== 'starting' && Status !== 'healthy' && Status !== 'unhealthy') return undefined;
  return {
    status: Status,
    failingStreak: health.FailingStreak,
    results: (health.Log ?? []).map((result) => ({
      startedAt: instantOf(result.Start) ?? 0,
      finishedAt: instantOf(result.End) ?? 0,
      exitCode: result.ExitCode,
      // `300ms` in the engine's words.
      output: result.ExitCode === -1 ? result.Output.replace(/\((\d+)ms\)/, '($1 ms)') : result.Output,
    })),
  };
}

function limitsOf(container: DockerContainer): ResourceLimits {
  const { NanoCpus, Memory, MemorySwap, PidsLimit, CpuShares, CpusetCpus, BlkioWeight } =
    container.HostConfig;
  return present({
    cpuMillis: NanoCpus ? Math.round(NanoCpus / NANOS_PER_MILLI) : undefined,
    memoryBytes: Memory || undefined,
    memorySwapBytes: Memory && MemorySwap && MemorySwap !== Memory ? MemorySwap : undefined,
    pids: PidsLimit && PidsLimit > 0 ? PidsLimit : undefined,
    cpuWeight: CpuShares ? weightOfShares(CpuShares) : undefined,
    cpuset: CpusetCpus || undefined,
    ioWeight: BlkioWeight ? weightOfBlkio(BlkioWeight) : undefined,
  });
}

function weightOfBlkio(blkio: number): number {
  const guess = Math.round(1 + ((blkio - 10) * 9_999) / 990);
  return blkioOfWeight(guess) === blkio ? guess : 100;
}

function publishedPorts(container: DockerContainer): PublishedPort[] {
  return Object.entries(container.HostConfig.PortBindings ?? {}).flatMap(([key, bindings]) => {
    const [port, protocol] = key.split('/');
    return (bindings ?? []).map((binding) => ({
      ...(binding.HostIp ? { hostAddress: binding.HostIp } : {}),
      hostPort: Number(binding.HostPort),
      containerPort: Number(port),
      protocol: protocol === 'udp' ? ('UDP' as const) : ('TCP' as const),
    }));
  });
}

/** Figures as the contract has them. */
export function statsOf(stats: DockerStats, container: DockerContainer): ContainerStats {
  const memory = stats.memory_stats;
  const inactive = memory.stats?.total_inactive_file ?? memory.stats?.inactive_file ?? 0;
  const networks = Object.values(stats.networks ?? {});
  const blocks = (op: string): number =>
    (stats.blkio_stats?.io_service_bytes_recursive ?? [])
      .filter((entry) => entry.op.toLowerCase() === op)
      .reduce((sum, entry) => sum + entry.value, 0);
  const limit = container.HostConfig.Memory ?? 0;
  return {
    at: instantOf(stats.read) ?? 0,
    cpuUsageNs: stats.cpu_stats.cpu_usage.total_usage,
    memoryBytes: Math.max(0, (memory.usage ?? 0) - inactive),
    ...(limit > 0 ? { memoryLimitBytes: limit } : {}),
    pids: stats.pids_stats?.current ?? 0,
    networkReceivedBytes: networks.reduce((sum, network) => sum + network.rx_bytes, 0),
    networkSentBytes: networks.reduce((sum, network) => sum + network.tx_bytes, 0),
    blockReadBytes: blocks('read'),
    blockWrittenBytes: blocks('write'),
  };
}
