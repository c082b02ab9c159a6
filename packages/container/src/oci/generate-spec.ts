// ContainerSpec and image config in, OCI config.json out: pure, so that every default can be read and tested here.

import type { ContainerSpec, IdMapping } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageConfig } from '../image/manifest.ts';
import { requireWorkingDirectory } from '../lifecycle/kernel-paths.ts';
import { effectiveCapabilities } from './capabilities.ts';
import { deviceRules, type ResolvedDevice } from './devices.ts';
import { INIT_TARGET } from './helpers.ts';
import type { IdMappings } from './idmapped-mount.ts';
import { MASKED_PATHS, READ_ONLY_PATHS } from './protected-paths.ts';
import { limitResources, type ResolvedThrottle } from './resources.ts';
import { type OwnLimits, rlimitsOf } from './rlimits.ts';
import type { OciSeccomp } from './seccomp.ts';
import type { OciIdMapping, OciMount, OciProcess, OciResources, OciSpec } from './spec.ts';
import type { ResolvedUser } from './user.ts';

/** What the driver has settled before the spec can be written. */
export interface SpecInputs {
  readonly id: string;
  readonly spec: ContainerSpec;
  readonly image: ImageConfig['config'];
  readonly user: ResolvedUser;
  readonly rootfs: string;
  readonly seccomp: OciSeccomp;
  /** Path of the container's cgroup, relative to the root of each hierarchy. */
  readonly cgroupsPath: string;
  readonly cgroupVersion: 1 | 2;
  /** No cgroup may be made. */
  readonly cgroupsDenied?: boolean | undefined;
  /** A network namespace made ahead; absent: a new empty one. `host`: the machine's own. */
  readonly networkNamespace?: string;
  /** Ids of a user namespace. Default none: the host's. */
  readonly mappings?: IdMappings | undefined;
  /** How many groups there are at all, from 0 on. Default all that the kernel takes here. */
  readonly groups?: number;
  /** Default the spec's, else the id's beginning. */
  readonly hostname?: string;
  /** The network namespace is another container's. */
  readonly sharesNetwork?: boolean;
  /** Files and directories of the host to mount, volumes and secrets included. */
  readonly binds: readonly BindMount[];
  /** Our own hard limits of getrlimit(2): no container gets more. */
  readonly ownLimits: OwnLimits;
  /** Devices of the host, looked up. Default none. */
  readonly devices?: readonly ResolvedDevice[];
  /** Throttles of the limits, looked up. Default none. */
  readonly throttles?: readonly ResolvedThrottle[];
  /** Directories like /sys/devices/system/cpu/cpu0/thermal_throttle that exist on this machine. */
  readonly thermalThrottlePaths?: readonly string[];
}

/** A host path shown in the container. */
export interface BindMount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** Further mount flags. */
  readonly flags?: readonly string[];
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** A fork bomb must end at a number that leaves the machine usable. */
export const DEFAULT_PIDS_LIMIT = 1024;
const DEFAULT_TMPFS_BYTES = 64 * 1024 * 1024;
// What the kernel takes as a group of ping sockets.
const MAX_GROUPS = 2_147_483_648;
const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;

/** Without NET_RAW the first is how ping works; and any user may serve on port 80, as in Docker. */
function networkSysctls({ mappings, groups }: SpecInputs): Record<string, string> {
  // The kernel takes only groups that the user namespace has, from the first on.
  const last =
    Math.min(
      mappings?.gids.find(({ containerId }) => containerId === 0)?.size ?? MAX_GROUPS,
      groups ?? MAX_GROUPS,
    ) - 1;
  return {
    'net.ipv4.ping_group_range': `0 ${last}`,
    'net.ipv4.ip_unprivileged_port_start': '0',
  };
}

function ociMapping({ containerId, hostId, size }: IdMapping): OciIdMapping {
  return { containerID: containerId, hostID: hostId, size };
}

function resourcesOf({ spec, devices, throttles, cgroupVersion }: SpecInputs): OciResources {
  const limits = { pids: DEFAULT_PIDS_LIMIT, ...spec.limits };
  return { devices: deviceRules(devices ?? []), ...limitResources(limits, throttles, cgroupVersion) };
}

function ownNetwork(inputs: SpecInputs): boolean {
  return inputs.networkNamespace !== 'host' && !inputs.sharesNetwork;
}

/** Writes the config.json of a container. Throws `INVALID_ARGUMENT` when there is nothing to run. */
export function generateSpec(inputs: SpecInputs): OciSpec {
  const { spec } = inputs;
  return {
    ociVersion: '1.0.2',
    process: processOf(inputs),
    root: { path: inputs.rootfs, readonly: spec.readOnlyRootfs ?? false },
    hostname: hostnameOf(inputs),
    mounts: [...systemMounts(inputs), ...userMounts(inputs)],
    annotations: { ...spec.annotations, 'dev.heptad.container': inputs.id, 'dev.heptad.name': spec.name },
    linux: {
      ...(inputs.cgroupsDenied === true ? {} : { cgroupsPath: inputs.cgroupsPath }),
      namespaces: namespaces(inputs),
      ...(inputs.mappings === undefined
        ? {}
        : {
            uidMappings: inputs.mappings.uids.map(ociMapping),
            gidMappings: inputs.mappings.gids.map(ociMapping),
          }),
      ...(inputs.devices === undefined ? {} : { devices: inputs.devices.map(({ node }) => node) }),
      ...(inputs.cgroupsDenied === true ? {} : { resources: resourcesOf(inputs) }),
      seccomp: inputs.seccomp,
      maskedPaths: [...MASKED_PATHS, ...(inputs.thermalThrottlePaths ?? [])],
      // On v1 the runtime leaves the directory of the hierarchies writable, a tmpfs without a size.
      readonlyPaths:
        inputs.cgroupVersion === 1 && inputs.cgroupsDenied !== true
          ? [...READ_ONLY_PATHS, '/sys/fs/cgroup']
          : READ_ONLY_PATHS,
      sysctl: {
        // Sysctls of a network namespace must not be set in one that is not the container's own.
        ...(ownNetwork(inputs) ? networkSysctls(inputs) : {}),
        ...spec.sysctls,
      },
      rootfsPropagation: 'private',
    },
  };
}

/** The command line of a container: spec over image, an empty entrypoint clears the image's. */
export function commandLine(spec: ContainerSpec, image: ImageConfig['config']): string[] {
  const entrypoint = spec.entrypoint ?? image.Entrypoint ?? [];
  // As in Docker: a new entrypoint does not inherit arguments that were meant for the old one.
  const command = spec.command ?? (spec.entrypoint === undefined ? (image.Cmd ?? []) : []);
  const args = [...entrypoint, ...command];
  if (args.length > 0) return args;
  throw new ContainerError(
    'INVALID_ARGUMENT',
    `cannot create container "${spec.name}": neither it nor image ${spec.image} says what to run`,
    {
      hint: 'give "command"',
    },
  );
}

/** The environment: image, then spec, with PATH, HOME and HOSTNAME where neither says otherwise. */
export function environmentOf(
  spec: ContainerSpec,
  image: ImageConfig['config'],
  defaults: Readonly<Record<string, string>>,
): string[] {
  const merged = new Map(Object.entries(defaults));
  for (const line of [DEFAULT_PATH, ...(image.Env ?? [])]) {
    const equals = line.indexOf('=');
    if (equals > 0) merged.set(line.slice(0, equals), line.slice(equals + 1));
  }
  for (const [name, value] of Object.entries(spec.environment ?? {})) merged.set(name, value);
  return [...merged].map(([name, value]) => `${name}=${value}`);
}

function processOf(inputs: SpecInputs): OciProcess {
  const { spec, image, user } = inputs;
  const capabilities = effectiveCapabilities(spec.capabilities);
  const isRoot = user.uid === 0;
  const cwd = spec.workingDirectory ?? (image.WorkingDir || '/');
  requireWorkingDirectory(cwd, `create container "${spec.name}"`);
  return {
    terminal: spec.tty ?? false,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: [...(spec.init === true ? [INIT_TARGET, '--'] : []), ...commandLine(spec, image)],
    env: environmentOf(spec, image, {
      HOME: user.home,
      HOSTNAME: hostnameOf(inputs),
      ...(spec.tty === true ? { TERM: 'xterm' } : {}),
    }),
    cwd,
    capabilities: {
      bounding: capabilities,
      // The kernel would drop these at exec for a non-root user; saying so keeps them from a moment of existence.
      effective: isRoot ? capabilities : [],
      permitted: isRoot ? capabilities : [],
      inheritable: [],
      ambient: [],
    },
    rlimits: rlimitsOf(spec.ulimits ?? {}, inputs.ownLimits),
    noNewPrivileges: true,
    ...(spec.oomScoreAdjust === undefined ? {} : { oomScoreAdj: spec.oomScoreAdjust }),
  };
}

function hostnameOf({ hostname, spec, id }: SpecInputs): string {
  return hostname ?? spec.hostname ?? id.slice(0, 12);
}

function namespaces(inputs: SpecInputs): { type: string; path?: string }[] {
  const list: { type: string; path?: string }[] = [
    { type: 'pid' },
    { type: 'ipc' },
    { type: 'uts' },
    { type: 'mount' },
    // On v1 too: a container that reads /proc/self/cgroup is not told where the host keeps it.
    ...(inputs.cgroupsDenied === true ? [] : [{ type: 'cgroup' }]),
  ];
  if (inputs.mappings !== undefined) list.push({ type: 'user' });
  if (inputs.networkNamespace === undefined) list.push({ type: 'network' });
  else if (inputs.networkNamespace !== 'host') list.push({ type: 'network', path: inputs.networkNamespace });
  return list;
}

function systemMounts(inputs: SpecInputs): OciMount[] {
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: [
        'nosuid',
        'noexec',
        'nodev',
        'mode=1777',
        `size=${inputs.spec.shmBytes ?? DEFAULT_SHM_BYTES}`,
      ],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    ...(inputs.cgroupsDenied === true
      ? []
      : [
          {
            destination: '/sys/fs/cgroup',
            type: 'cgroup',
            source: 'cgroup',
            options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
          },
        ]),
    ...(inputs.spec.readOnlyRootfs === true
      ? ['/tmp', '/run', '/var/tmp'].map((path) => tmpfs(path, undefined, 0o1777))
      : []),
  ];
}

function userMounts(inputs: SpecInputs): OciMount[] {
  const memory = (inputs.spec.mounts ?? []).flatMap((mount) =>
    mount.type === 'tmpfs' ? [tmpfs(mount.target, mount.sizeBytes, mount.mode)] : [],
  );
  const binds = inputs.binds.map(
    ({ source, target, readOnly, flags = [] }): OciMount => ({
      destination: target,
      type: 'bind',
      source,
      options: [
        ...new Set([
          'rbind',
          'rprivate',
          'nosuid',
          'nodev',
          ...flags,
          readOnly || flags.includes('ro') ? 'ro' : 'rw',
        ]),
      ],
    }),
  );
  // A mount below another must come after it.
  return [...memory, ...binds].sort((one, other) => depth(one) - depth(other));
}

function depth(mount: OciMount): number {
  return mount.destination.split('/').filter((part) => part !== '').length;
}

function tmpfs(target: string, sizeBytes = DEFAULT_TMPFS_BYTES, mode = 0o1777): OciMount {
  return {
    destination: target,
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'nodev', 'noexec', `size=${sizeBytes}`, `mode=${mode.toString(8)}`],
  };
}
