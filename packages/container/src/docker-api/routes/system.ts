// The engine itself: ping, version, info, events, what is on the disk.

import { cpus, hostname, release, totalmem } from 'node:os';
import { hostArchitecture } from '../../image/manifest.ts';
import type { ApiCall } from '../call.ts';
import { writeTo } from '../call.ts';
import type { ApiContext } from '../context.ts';
import type { ApiEvent } from '../events.ts';
import { Filters, matchesLabel } from '../filters.ts';
import { familiarName } from '../image-index.ts';
import { listedContainer, timeText } from '../show-container.ts';
import { API_VERSION, MIN_API_VERSION } from '../versions.ts';

const ENGINE_VERSION = '0.1.0';
// How `uname -m` calls what images call amd64 and arm64.
const MACHINES: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64' };

/** `GET /_ping`, `HEAD /_ping` */
export function ping(_context: ApiContext, call: ApiCall): void {
  call.response.setHeader('Builder-Version', '1');
  call.response.setHeader('Swarm', 'inactive');
  call.response.setHeader('Cache-Control', 'no-cache, no-store, must-revalidate');
  call.response.setHeader('Pragma', 'no-cache');
  call.response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': 2 });
  call.response.end(call.request.method === 'HEAD' ? undefined : 'OK');
}

/** `GET /version` */
export async function version(context: ApiContext, call: ApiCall): Promise<void> {
  const probe = await context.runtime.probe();
  call.send(200, {
    Platform: { Name: 'Heptad' },
    Components: [
      {
        Name: 'Engine',
        Version: ENGINE_VERSION,
        Details: {
          ApiVersion: API_VERSION,
          MinAPIVersion: MIN_API_VERSION,
          Os: 'linux',
          Arch: hostArchitecture(),
          KernelVersion: release(),
          Experimental: 'false',
          BuildTime: '',
          GitCommit: '',
          GoVersion: '',
        },
      },
      { Name: context.runtime.name, Version: probe.version ?? 'unknown', Details: {} },
    ],
    Version: ENGINE_VERSION,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: '',
    GoVersion: '',
    Os: 'linux',
    Arch: hostArchitecture(),
    KernelVersion: release(),
    BuildTime: '',
  });
}

/** `GET /info` */
export async function info(context: ApiContext, call: ApiCall): Promise<void> {
  const [infos, images, probe] = await Promise.all([
    context.runtime.list(),
    context.images.all(),
    context.runtime.probe(),
  ]);
  const count = (...states: string[]): number => infos.filter(({ state }) => states.includes(state)).length;
  const { capabilities } = probe;
  call.send(200, {
    ID: context.engine.home,
    Containers: infos.length,
    ContainersRunning: count('running'),
    ContainersPaused: count('paused'),
    ContainersStopped: count('created', 'stopped'),
    Images: images.length,
    Driver: 'overlay2',
    DriverStatus: [],
    Plugins: {
      Volume: ['local'],
      Network: capabilities.networks ? ['bridge', 'host', 'null'] : ['host', 'null'],
      Authorization: null,
      Log: ['json-file'],
    },
    MemoryLimit: capabilities.limits,
    SwapLimit: capabilities.limits,
    KernelMemory: false,
    CpuCfsPeriod: capabilities.limits,
    CpuCfsQuota: capabilities.limits,
    CPUShares: capabilities.limits,
    CPUSet: capabilities.limits,
    PidsLimit: capabilities.limits,
    IPv4Forwarding: true,
    BridgeNfIptables: false,
    BridgeNfIp6tables: false,
    Debug: false,
    NFd: 0,
    OomKillDisable: false,
    NGoroutines: 0,
    SystemTime: timeText(context.clock.now()),
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    NEventsListener: 0,
    KernelVersion: release(),
    OperatingSystem: 'Linux',
    OSType: 'linux',
    Architecture: MACHINES[hostArchitecture()] ?? hostArchitecture(),
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: { InsecureRegistryCIDRs: ['127.0.0.0/8'], IndexConfigs: {}, Mirrors: [] },
    NCPU: cpus().length,
    MemTotal: totalmem(),
    GenericResources: null,
    DockerRootDir: context.engine.home,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: ENGINE_VERSION,
    Runtimes: { [context.runtime.name]: { path: context.runtime.name } },
    DefaultRuntime: context.runtime.name,
    Swarm: {
      NodeID: '',
      NodeAddr: '',
      LocalNodeState: 'inactive',
      ControlAvailable: false,
      Error: '',
      RemoteManagers: null,
    },
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: capabilities.init ? 'heptad-init' : '',
    ContainerdCommit: { ID: '', Expected: '' },
    RuncCommit: { ID: probe.version ?? '', Expected: probe.version ?? '' },
    InitCommit: { ID: '', Expected: '' },
    SecurityOptions: capabilities.isolation === 'process' ? [] : ['name=seccomp,profile=default'],
    Warnings: probe.reasons,
  });
}

const EVENT_FILTERS = [
  'config',
  'container',
  'daemon',
  'event',
  'image',
  'label',
  'network',
  'node',
  'plugin',
  'scope',
  'secret',
  'service',
  'type',
  'volume',
];

/** `GET /events` */
export async function events(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), EVENT_FILTERS);
  const since = instantOf(context, call.query.get('since'));
  const until = instantOf(context, call.query.get('until'));
  const response = call.stream('application/json');
  if (until !== undefined && until <= context.clock.now()) {
    // Only what is past was asked for.
    for (const event of context.events.history()) {
      const at = event.timeNano / 1_000_000;
      if (at >= (since ?? 0) && at <= until && passes(filters, event))
        await writeTo(response, `${JSON.stringify(outer(event))}\n`);
    }
    response.end();
    return;
  }
  const stop = new AbortController();
  const timer =
    until === undefined
      ? undefined
      : context.clock.timer(until - context.clock.now(), () => stop.abort(), { unref: true });
  try {
    for await (const event of context.events.follow(since, AbortSignal.any([call.closed, stop.signal]))) {
      if (!passes(filters, event)) continue;
      if (!(await writeTo(response, `${JSON.stringify(outer(event))}\n`))) return;
    }
  } finally {
    timer?.cancel();
  }
  response.end();
}

/** Old clients read fields of before `Actor`. */
function outer(event: ApiEvent): Record<string, unknown> {
  const old =
    event.Type === 'container'
      ? { status: event.Action, id: event.Actor.ID, from: event.Actor.Attributes.image ?? '' }
      : event.Type === 'image'
        ? { status: event.Action, id: event.Actor.ID }
        : {};
  return { ...old, ...event, scope: 'local' };
}

function passes(filters: Filters, event: ApiEvent): boolean {
  const { ID, Attributes } = event.Actor;
  const is =
    (type: string) =>
    (reference: string): boolean =>
      event.Type === type && (ID.startsWith(reference) || Attributes.name === reference);
  return (
    filters.any('type', (type) => event.Type === type) &&
    filters.any('event', (action) => event.Action === action || event.Action.startsWith(`${action}:`)) &&
    filters.any('container', is('container')) &&
    filters.any('volume', is('volume')) &&
    filters.any('network', is('network')) &&
    filters.any(
      'image',
      (image) => is('image')(image) || familiarName(Attributes.image ?? '') === familiarName(image),
    ) &&
    filters.any('scope', (scope) => scope === 'local') &&
    filters.get('label').every((label) => matchesLabel(Attributes, label))
  );
}

function instantOf(context: ApiContext, text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Math.floor(Number(text) * 1000);
  const minutes = /^(\d+)(s|m|h)$/.exec(text);
  if (minutes !== null) {
    const unit = minutes[2] === 'h' ? 3_600_000 : minutes[2] === 'm' ? 60_000 : 1000;
    return context.clock.now() - Number(minutes[1]) * unit;
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

/** `GET /system/df` */
export async function diskUsage(context: ApiContext, call: ApiCall): Promise<void> {
  const [infos, images, volumes] = await Promise.all([
    context.runtime.list(),
    context.images.all(),
    context.volumes.list(),
  ]);
  const users = (digest: string): number => infos.filter(({ imageDigest }) => imageDigest === digest).length;
  const mounts = infos.flatMap((each) => each.mounts);
  const unique = new Map(
    images.flatMap(({ image }) => image.manifest.layers.map((layer) => [layer.digest, layer.size] as const)),
  );
  call.send(200, {
    LayersSize: [...unique.values()].reduce((sum, size) => sum + size, 0),
    Images: images.map(({ id, image, tags }) => ({
      Id: id,
      ParentId: '',
      RepoTags: tags.map((tag) => familiarName(tag) ?? tag),
      RepoDigests: [],
      Created: Math.floor((Date.parse(image.config.created ?? '') || 0) / 1000),
      Size: image.sizeBytes,
      SharedSize: 0,
      VirtualSize: image.sizeBytes,
      Labels: image.config.config.Labels ?? {},
      Containers: users(image.digest),
    })),
    Containers: infos.map((each) => ({ ...listedContainer(context, each), SizeRw: 0, SizeRootFs: 0 })),
    Volumes: volumes.map((volume) => ({
      Name: volume.name,
      Driver: 'local',
      Mountpoint: volume.path,
      Labels: volume.labels,
      Scope: 'local',
      Options: volume.options,
      UsageData: {
        Size: -1,
        RefCount: mounts.filter((mount) => mount.type === 'volume' && mount.name === volume.name).length,
      },
    })),
    BuildCache: [],
    BuilderSize: 0,
  });
}
