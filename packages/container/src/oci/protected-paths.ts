// Files of /proc and /sys that a container must not see, or only read.

import { readdir } from 'node:fs/promises';

/** moby's list with the additions of its 2025-26 advisories (interrupts, powercap, thermal throttle), and Podman's. */
export const MASKED_PATHS: readonly string[] = [
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

/** What may be read, and written by nobody. */
export const READ_ONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

const CPUS = '/sys/devices/system/cpu';

/** The `thermal_throttle` directories of this machine's CPUs (moby GHSA-6fw5-f8r9-fgfm): they tell of the neighbours' load. */
export async function thermalThrottlePaths(cpus: string = CPUS): Promise<string[]> {
  const names = (await readdir(cpus).catch(() => [])).filter((name) => /^cpu\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = `${cpus}/${name}/thermal_throttle`;
      return (await readdir(path).catch(() => undefined)) === undefined ? [] : [path];
    }),
  );
  return found.flat();
}
