// ContainerSpec and image config in, OCI config.json out: pure, so that every default can be read and tested here.

import type { ContainerSpec, ResourceLimits } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageConfig } from '../image/manifest.ts';
import { effectiveCapabilities } from './capabilities.ts';
import type { OciSeccomp } from './seccomp.ts';
import type { OciMount, OciProcess, OciResources, OciSpec } from './spec.ts';
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
  /** A network namespace made ahead; absent: a new empty one. `host`: the machine's own. */
  readonly networkNamespace?: string;
  /** Files and directories of the host to mount, volumes and secrets included. */
  readonly binds: readonly BindMount[];
  /** The most open files we may ask for: our own hard limit. */
  readonly maxOpenFiles: number;
  /** Directories like /sys/devices/system/cpu/cpu0/thermal_throttle that exist on this machine. */
  readonly thermalThrottlePaths?: readonly string[];
}

/** A host path shown in the container. */
export interface BindMount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** A fork bomb must end at a number that leaves the machine usable. */
export const DEFAULT_PIDS_LIMIT = 1024;
// containerd's default is 1024; servers with many sockets need more, and a soft limit costs nothing.
const OPEN_FILES = 16_384;
const CPU_PERIOD_US = 100_000;
const DEFAULT_TMPFS_BYTES = 64 * 1024 * 1024;

/** moby's list with the additions of its 2025-26 advisories (interrupts, powercap, thermal throttle). */
const MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
  '/sys/fs/selinux',
];
const READ_ONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

// null, zero, full, tty, urandom, random, ptmx and pseudo-terminals: what every runtime allows.
const ALLOWED_DEVICES: readonly (readonly [number, number | undefined])[] = [
  [1, 3],
  [1, 5],
  [1, 7],
  [1, 8],
  [1, 9],
  [5, 0],
  [5, 1],
  [5, 2],
  [136, undefined],
];

/** Writes the config.json of a container. Throws `INVALID_ARGUMENT` when there is nothing to run. */
export function generateSpec(inputs: SpecInputs): OciSpec {
  const { spec } = inputs;
  const hostNetwork = inputs.networkNamespace === 'host';
  return {
    ociVersion: '1.0.2',
    process: processOf(inputs),
    root: { path: inputs.rootfs, readonly: spec.readOnlyRootfs ?? false },
    hostname: spec.hostname ?? inputs.id.slice(0, 12),
    mounts: [...systemMounts(inputs), ...userMounts(inputs)],
    annotations: { 'dev.heptad.container': inputs.id, 'dev.heptad.name': spec.name },
    linux: {
      cgroupsPath: inputs.cgroupsPath,
      namespaces: namespaces(inputs),
      resources: { devices: deviceRules(), ...limitResources({ pids: DEFAULT_PIDS_LIMIT, ...spec.limits }) },
      seccomp: inputs.seccomp,
      maskedPaths: [...MASKED_PATHS, ...(inputs.thermalThrottlePaths ?? [])],
      readonlyPaths: READ_ONLY_PATHS,
      // Sysctls of a network namespace must not be set in the machine's own.
      ...(hostNetwork
        ? {}
        : {
            sysctl: {
              // Without NET_RAW this is how ping works; and any user may serve on port 80, as in Docker.
              'net.ipv4.ping_group_range': '0 2147483647',
              'net.ipv4.ip_unprivileged_port_start': '0',
            },
          }),
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
  const openFiles = Math.min(OPEN_FILES, inputs.maxOpenFiles);
  return {
    terminal: false,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: commandLine(spec, image),
    env: environmentOf(spec, image, { HOME: user.home, HOSTNAME: spec.hostname ?? inputs.id.slice(0, 12) }),
    cwd: spec.workingDirectory ?? (image.WorkingDir || '/'),
    capabilities: {
      bounding: capabilities,
      // The kernel would drop these at exec for a non-root user; saying so keeps them from a moment of existence.
      effective: isRoot ? capabilities : [],
      permitted: isRoot ? capabilities : [],
      inheritable: [],
      ambient: [],
    },
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: openFiles, hard: openFiles }],
    noNewPrivileges: true,
  };
}

function namespaces(inputs: SpecInputs): { type: string; path?: string }[] {
  const list: { type: string; path?: string }[] = [
    { type: 'pid' },
    { type: 'ipc' },
    { type: 'uts' },
    { type: 'mount' },
  ];
  if (inputs.cgroupVersion === 2) list.push({ type: 'cgroup' });
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
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
    },
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
    ({ source, target, readOnly }): OciMount => ({
      destination: target,
      type: 'bind',
      source,
      options: ['rbind', 'rprivate', 'nosuid', 'nodev', readOnly ? 'ro' : 'rw'],
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

function deviceRules(): NonNullable<OciResources['devices']> {
  return [
    { allow: false, access: 'rwm' },
    ...ALLOWED_DEVICES.map(([major, minor]) => ({
      allow: true,
      type: 'c',
      major,
      ...(minor === undefined ? {} : { minor }),
      access: 'rwm',
    })),
  ];
}

/** Limits as cgroup settings. Swap is not given on top of memory: the limit is the limit. */
export function limitResources(limits: ResourceLimits): OciResources {
  return {
    ...(limits.memoryBytes === undefined
      ? {}
      : { memory: { limit: limits.memoryBytes, swap: limits.memoryBytes } }),
    ...(limits.cpuMillis === undefined
      ? {}
      : {
          cpu: {
            period: CPU_PERIOD_US,
            quota: Math.round((limits.cpuMillis * CPU_PERIOD_US) / 1000),
            // Shares follow the quota (1024 = one core), so that a busy machine divides itself in the asked proportion.
            shares: Math.max(2, Math.min(262_144, Math.round((limits.cpuMillis * 1024) / 1000))),
          },
        }),
    ...(limits.pids === undefined ? {} : { pids: { limit: limits.pids } }),
  };
}
