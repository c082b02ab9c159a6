// Disk limits that the runtime does not set: throttles of a running container, and whether the kernel knows weights.

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerError } from '../errors.ts';
import { type CgroupLayout, cgroupDirectory } from './cgroup.ts';
import type { ResolvedThrottle } from './resources.ts';

/** Throws `NOT_SUPPORTED` when no I/O scheduler of this machine divides disk time by weight. */
export async function requireIoWeight(layout: CgroupLayout, parent: string): Promise<void> {
  const directory = cgroupDirectory(layout, 'blkio', parent);
  // The files show in child cgroups only, and only while a scheduler that heeds them is there.
  await mkdir(directory, { recursive: true });
  const files = await readdir(directory);
  if (files.some((name) => /^(blkio(\.bfq)?\.weight|io(\.bfq)?\.weight)$/.test(name))) return;
  throw new ContainerError(
    'NOT_SUPPORTED',
    'cannot set limits.ioWeight: no disk scheduler here knows weights',
    {
      hint: 'use the bfq scheduler (modprobe bfq; echo bfq > /sys/block/DISK/queue/scheduler), or limits.ioThrottles',
    },
  );
}

/** Sets the throttles of a container that exists; those of devices not named stay. */
export async function writeThrottles(
  layout: CgroupLayout,
  cgroupsPath: string,
  throttles: readonly ResolvedThrottle[],
): Promise<void> {
  const directory = cgroupDirectory(layout, 'blkio', cgroupsPath);
  for (const throttle of throttles) {
    const device = `${throttle.major}:${throttle.minor}`;
    const rates = [
      ['read_bps', 'rbps', throttle.readBytesPerSecond],
      ['write_bps', 'wbps', throttle.writeBytesPerSecond],
      ['read_iops', 'riops', throttle.readOperationsPerSecond],
      ['write_iops', 'wiops', throttle.writeOperationsPerSecond],
    ] as const;
    for (const [legacy, unified, rate] of rates) {
      if (rate === undefined) continue;
      if (layout.version === 2) await writeFile(join(directory, 'io.max'), `${device} ${unified}=${rate}`);
      else await writeFile(join(directory, `blkio.throttle.${legacy}_device`), `${device} ${rate}`);
    }
  }
}
