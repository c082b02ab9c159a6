// Which Linux capabilities a container holds: Podman's default eleven, with names added and dropped.

import { ContainerError } from '../errors.ts';

/**
 * The default set of Podman (`container-libs:common/pkg/config/default.go`): Docker's fourteen without MKNOD, NET_RAW
 * and AUDIT_WRITE, which ordinary services never need and exploits like to use.
 */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

const KNOWN: ReadonlySet<string> = new Set([
  ...DEFAULT_CAPABILITIES,
  ...'AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BROADCAST NET_RAW PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM'
    .split(' ')
    .map((name) => `CAP_${name}`),
]);

function normalize(name: string): string {
  const upper = name.toUpperCase();
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (KNOWN.has(full)) return full;
  throw new ContainerError('INVALID_ARGUMENT', `"${name}" is not a Linux capability`, {
    hint: 'names are those of capabilities(7), for example NET_ADMIN; ALL stands for every one',
  });
}

/** The bounding set of a container, sorted. `drop` comes first, so that `drop: ALL, add: X` leaves X. */
export function effectiveCapabilities(
  change: { readonly add?: readonly string[]; readonly drop?: readonly string[] } = {},
): string[] {
  const dropsAll = change.drop?.some((name) => name.toUpperCase() === 'ALL') ?? false;
  const set = new Set(dropsAll ? [] : DEFAULT_CAPABILITIES);
  for (const name of change.drop ?? []) {
    if (name.toUpperCase() !== 'ALL') set.delete(normalize(name));
  }
  for (const name of change.add ?? []) {
    if (name.toUpperCase() === 'ALL') for (const known of KNOWN) set.add(known);
    else set.add(normalize(name));
  }
  return [...set].sort();
}
