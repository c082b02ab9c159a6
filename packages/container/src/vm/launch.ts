// What a machine's agent is told before and when it starts the program: settled at creation, kept for every start.

import { join } from 'node:path';
import type { ContainerSpec, ResourceLimits } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import type { ImageConfig } from '../image/manifest.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { effectiveCapabilities } from '../oci/capabilities.ts';
import { commandLine, DEFAULT_PIDS_LIMIT, environmentOf } from '../oci/generate-spec.ts';
import { rlimitsOf } from '../oci/rlimits.ts';
import { readJson } from '../system/files.ts';
import type { Field } from './frames.ts';

/** A directory of the host in the machine. */
export interface LaunchShare {
  readonly tag: string;
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** The content of `launch.json`. It holds the values of secret variables, so it is its owner's only. */
export interface Launch {
  /** The image whose disk the machine's own lies over. */
  readonly imageDigest: string;
  readonly command: readonly string[];
  /** `NAME=value`. */
  readonly environment: readonly string[];
  readonly workingDirectory: string;
  readonly user: string;
  readonly groups: readonly string[];
  readonly hostname: string;
  /** The bounding set, hexadecimal as in /proc/PID/status. */
  readonly capabilities: string;
  readonly readOnlyRootfs: boolean;
  /** Number of the resource, soft and hard limit, with spaces between. */
  readonly rlimits: readonly string[];
  /** `name=value`. */
  readonly sysctls: readonly string[];
  readonly shmBytes: number;
  /** Options as mount(8) takes them. */
  readonly tmpfs: readonly { readonly target: string; readonly options: string }[];
  readonly shares: readonly LaunchShare[];
  /** Their content lies in the directory of secrets under `name`; `mode` is octal. */
  readonly secrets: readonly { readonly name: string; readonly target: string; readonly mode: string }[];
}

const strings = z.array(z.string());
const launchSchema: z.ZodType<Launch> = z.object({
  imageDigest: z.string(),
  command: strings,
  environment: strings,
  workingDirectory: z.string(),
  user: z.string(),
  groups: strings,
  hostname: z.string(),
  capabilities: z.string(),
  readOnlyRootfs: z.boolean(),
  rlimits: strings,
  sysctls: strings,
  shmBytes: z.number(),
  tmpfs: z.array(z.object({ target: z.string(), options: z.string() })),
  shares: z.array(
    z.object({ tag: z.string(), source: z.string(), target: z.string(), readOnly: z.boolean() }),
  ),
  secrets: z.array(z.object({ name: z.string(), target: z.string(), mode: z.string() })),
});

/** Name of the file in a container's directory. */
export const LAUNCH_FILE = 'launch.json';
const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;
const DEFAULT_TMPFS_BYTES = 64 * 1024 * 1024;
const CPU_PERIOD_US = 100_000;
// Numbers of capabilities(7), in their order from 0.
const CAPABILITY_NAMES =
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'.split(
    ' ',
  );
// Numbers of getrlimit(2) on x86-64, in their order from 0.
const RLIMIT_NAMES =
  'CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME'.split(
    ' ',
  );
const NO_LIMIT = '18446744073709551615';

/** Settles what runs. Throws `INVALID_ARGUMENT` when nothing says what, or names a capability that is none. */
export function planLaunch(
  record: ContainerRecord,
  spec: ContainerSpec,
  image: { readonly digest: string; readonly config: ImageConfig['config'] },
  shares: readonly LaunchShare[],
): Launch {
  const hostname = spec.hostname ?? record.id.slice(0, 12);
  return {
    imageDigest: image.digest,
    command: commandLine(spec, image.config),
    environment: environmentOf(spec, image.config, { HOSTNAME: hostname }),
    workingDirectory: spec.workingDirectory ?? (image.config.WorkingDir || '/'),
    user: spec.user ?? image.config.User ?? '',
    groups: [...(spec.groupAdd ?? [])],
    hostname,
    capabilities: capabilityMask(effectiveCapabilities(spec.capabilities)),
    readOnlyRootfs: spec.readOnlyRootfs ?? false,
    rlimits: resourceLimits(spec),
    sysctls: Object.entries(spec.sysctls ?? {}).map(([name, value]) => `${name}=${value}`),
    shmBytes: spec.shmBytes ?? DEFAULT_SHM_BYTES,
    tmpfs: (spec.mounts ?? []).flatMap((mount) =>
      mount.type === 'tmpfs'
        ? [
            {
              target: mount.target,
              options: `size=${mount.sizeBytes ?? DEFAULT_TMPFS_BYTES},mode=${(mount.mode ?? 0o1777).toString(8)}`,
            },
          ]
        : [],
    ),
    shares: [...shares],
    secrets: (spec.secrets ?? []).map((secret, index) => ({
      name: String(index),
      target: secret.target,
      mode: (secret.mode ?? 0o400).toString(8),
    })),
  };
}

function capabilityMask(names: readonly string[]): string {
  const bits = names.map((name) => CAPABILITY_NAMES.indexOf(name.replace(/^CAP_/, '')));
  return bits.reduce((mask, bit) => (bit < 0 ? mask : mask | (1n << BigInt(bit))), 0n).toString(16);
}

function resourceLimits(spec: ContainerSpec): string[] {
  // The guest has its own kernel, so our own hard limits are none of its matter.
  return rlimitsOf(spec.ulimits ?? {}, new Map()).flatMap(({ type, soft, hard }) => {
    const number = RLIMIT_NAMES.indexOf(type.replace(/^RLIMIT_/, ''));
    const text = (value: number): string =>
      value < 0 || value >= Number.MAX_SAFE_INTEGER ? NO_LIMIT : String(value);
    return number < 0 ? [] : [`${number} ${text(soft)} ${text(hard)}`];
  });
}

/** Reads the launch of a container. Throws `STORE_CORRUPT`. */
export async function readLaunch(directory: string): Promise<Launch> {
  const path = join(directory, LAUNCH_FILE);
  const parsed = launchSchema.safeParse(await readJson(path));
  if (parsed.success) return parsed.data;
  throw new ContainerError('STORE_CORRUPT', `cannot use ${path}: ${z.prettifyError(parsed.error)}`, {
    hint: 'remove the container and create it anew',
    details: { path },
  });
}

/** The limits as the guest's cgroup takes them. */
export function limitFields(limits: ResourceLimits): Field[] {
  const { cpuMillis, memoryBytes, pids } = limits;
  const quota = cpuMillis === undefined ? 'max' : String(Math.round((cpuMillis * CPU_PERIOD_US) / 1000));
  return [
    ['memory.max', memoryBytes ?? 'max'],
    ['memory.swap.max', 0],
    ['pids.max', pids ?? DEFAULT_PIDS_LIMIT],
    ['cpu.max', `${quota} ${CPU_PERIOD_US}`],
  ];
}

/** What the agent needs to start the main program. */
export function mainFields(launch: Launch): Field[] {
  return [
    ...programFields(launch),
    ...launch.tmpfs.map(({ target, options }): Field => ['tmpfs', `${target}\0${options}`]),
    ...launch.shares.map(
      ({ tag, target, readOnly }): Field => ['share', `${tag}\0${target}\0${readOnly ? 'ro' : 'rw'}`],
    ),
    ...launch.secrets.map(({ name, target }): Field => ['bind', `secret-${name}\0${target}`]),
    ['shm', launch.shmBytes],
    ...(launch.readOnlyRootfs ? [['readonly', 1] as const] : []),
  ];
}

/** What the main program and programs exec'd beside it have in common. */
export function programFields(launch: Launch): Field[] {
  return [
    ...launch.command.map((argument): Field => ['argument', argument]),
    ...launch.environment.map((line): Field => ['environment', line]),
    ['directory', launch.workingDirectory],
    ['user', launch.user],
    ...launch.groups.map((group): Field => ['group', group]),
    ['capabilities', launch.capabilities],
    ['no-new-privileges', 1],
    ...launch.rlimits.map((limit): Field => ['rlimit', limit]),
  ];
}
