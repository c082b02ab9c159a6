// What a container's cgroup has used, from the files of v1 and v2.

import { join } from 'node:path';
import { readTextIfAny } from '../system/files.ts';
import { type CgroupLayout, cgroupDirectory } from './cgroup.ts';

/** Figures of one cgroup. */
export interface CgroupUsage {
  /** Nanoseconds. */
  readonly cpuUsageNs: number;
  /** Working set. */
  readonly memoryBytes: number;
  readonly memoryLimitBytes?: number;
  readonly pids: number;
  readonly blockReadBytes: number;
  readonly blockWrittenBytes: number;
}

// cgroup v1 says "no limit" as the largest multiple of the page size below 2^63.
const NO_LIMIT_V1 = 2 ** 62;

/** Reads the figures; absent files (a controller that is not there) count as zero. */
export async function readUsage(layout: CgroupLayout, cgroupsPath: string): Promise<CgroupUsage> {
  const file = (controller: string, name: string): Promise<string> =>
    readTextIfAny(join(cgroupDirectory(layout, controller, cgroupsPath), name)).then((text) => text ?? '');
  if (layout.version === 2) {
    const [cpu, current, stat, max, pids, io] = await Promise.all(
      ['cpu.stat', 'memory.current', 'memory.stat', 'memory.max', 'pids.current', 'io.stat'].map((name) =>
        file('', name),
      ),
    );
    return usageV2({ cpu, current, stat, max, pids, io });
  }
  const [cpu, usage, stat, limit, pids, io] = await Promise.all([
    file('cpuacct', 'cpuacct.usage'),
    file('memory', 'memory.usage_in_bytes'),
    file('memory', 'memory.stat'),
    file('memory', 'memory.limit_in_bytes'),
    file('pids', 'pids.current'),
    file('blkio', 'blkio.throttle.io_service_bytes'),
  ]);
  return usageV1({ cpu, usage, stat, limit, pids, io });
}

type Texts<Names extends string> = Readonly<Record<Names, string | undefined>>;

/** From the texts of cgroup v2's files. */
export function usageV2(texts: Texts<'cpu' | 'current' | 'stat' | 'max' | 'pids' | 'io'>): CgroupUsage {
  const io = [...(texts.io ?? '').matchAll(/rbytes=(\d+) wbytes=(\d+)/g)];
  const max = Number((texts.max ?? '').trim());
  return {
    cpuUsageNs: field(texts.cpu, 'usage_usec') * 1000,
    memoryBytes: Math.max(0, number(texts.current) - field(texts.stat, 'inactive_file')),
    ...(Number.isFinite(max) && max > 0 ? { memoryLimitBytes: max } : {}),
    pids: number(texts.pids),
    blockReadBytes: io.reduce((sum, match) => sum + Number(match[1]), 0),
    blockWrittenBytes: io.reduce((sum, match) => sum + Number(match[2]), 0),
  };
}

/** From the texts of cgroup v1's files. */
export function usageV1(texts: Texts<'cpu' | 'usage' | 'stat' | 'limit' | 'pids' | 'io'>): CgroupUsage {
  const io = (kind: string): number =>
    [...(texts.io ?? '').matchAll(new RegExp(`^\\S+ ${kind} (\\d+)$`, 'gm'))].reduce(
      (sum, match) => sum + Number(match[1]),
      0,
    );
  const limit = number(texts.limit);
  return {
    cpuUsageNs: number(texts.cpu),
    memoryBytes: Math.max(0, number(texts.usage) - field(texts.stat, 'total_inactive_file')),
    ...(limit > 0 && limit < NO_LIMIT_V1 ? { memoryLimitBytes: limit } : {}),
    pids: number(texts.pids),
    blockReadBytes: io('Read'),
    blockWrittenBytes: io('Write'),
  };
}

/** Bytes received and sent by all interfaces but loopback, from the text of /proc/PID/net/dev. */
export function parseNetworkUsage(text: string): { received: number; sent: number } {
  let received = 0;
  let sent = 0;
  for (const line of text.split('\n')) {
    const [name, figures] = line.split(':', 2);
    if (figures === undefined || name?.trim() === 'lo') continue;
    const numbers = figures.trim().split(/\s+/).map(Number);
    received += numbers[0] ?? 0;
    sent += numbers[8] ?? 0;
  }
  return { received, sent };
}

/** How many processes of the cgroup the kernel killed for want of memory. */
export async function oomKills(layout: CgroupLayout, cgroupsPath: string): Promise<number> {
  const name = layout.version === 2 ? 'memory.events' : 'memory.oom_control';
  return field(await readTextIfAny(join(cgroupDirectory(layout, 'memory', cgroupsPath), name)), 'oom_kill');
}

function number(text: string | undefined): number {
  const value = Number((text ?? '').trim());
  return Number.isFinite(value) ? value : 0;
}

function field(text: string | undefined, name: string): number {
  const match = new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '');
  return match === null ? 0 : Number(match[1]);
}
