// Figures of machines: from the guest while it can answer, from QEMU's own process while it cannot.

import type { ContainerProcess, ContainerStats, Instant } from '@heptad/core';
import { readTextIfAny } from '../system/files.ts';
import type { Message } from './frames.ts';

const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
const MS_PER_TICK = 1000 / CLOCK_TICKS_PER_SECOND;

/** The guest's words on its program: the same figures as of a container, by the guest's cgroup. */
export function guestStats(answer: Message, at: Instant): ContainerStats {
  const memory = answer.number('memory');
  const limit = answer.text('limit');
  return {
    at,
    cpuUsageNs: answer.number('cpu') * 1000,
    memoryBytes: Math.max(0, memory - answer.number('inactive')),
    memoryLimitBytes: limit === undefined || limit === 'max' ? answer.number('total') : Number(limit),
    pids: answer.number('pids'),
    networkReceivedBytes: answer.number('rx'),
    networkSentBytes: answer.number('tx'),
    blockReadBytes: answer.number('read'),
    blockWrittenBytes: answer.number('written'),
  };
}

/** What a machine costs the host. */
export interface HostFigures {
  /** Resident memory of QEMU: the guest's that it has touched, and QEMU's own. */
  readonly residentBytes: number;
  /** CPU time of QEMU, guest included, nanoseconds. */
  readonly cpuUsageNs: number;
  readonly threads: number;
}

/** Figures of the process `pid`; zeros when it is gone. */
export async function hostFigures(pid: number): Promise<HostFigures> {
  const text = (await readTextIfAny(`/proc/${pid}/stat`)) ?? '';
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  // proc(5): counted from 3 (state), utime is 14, stime 15, threads 20, resident pages 24.
  const field = (number: number): number => Number(fields[number - 3] ?? 0) || 0;
  return {
    residentBytes: field(24) * PAGE_BYTES,
    cpuUsageNs: (field(14) + field(15)) * (1e9 / CLOCK_TICKS_PER_SECOND),
    threads: field(20),
  };
}

/** Of a machine whose processors stand still: nothing in it can answer. */
export function pausedStats(host: HostFigures, at: Instant): ContainerStats {
  return {
    at,
    cpuUsageNs: host.cpuUsageNs,
    memoryBytes: host.residentBytes,
    pids: 1,
    networkReceivedBytes: 0,
    networkSentBytes: 0,
    blockReadBytes: 0,
    blockWrittenBytes: 0,
  };
}

/** The processes of the guest's program; their numbers are the guest's. */
export function guestProcesses(answer: Message, now: Instant): ContainerProcess[] {
  const bootedAt = now - answer.number('uptime') * 1000;
  return answer.all('process').map((line) => {
    const [pid, parent, threads, ticks, start, pages, uid, ...command] = line.toString('utf8').split('\0');
    return {
      pid: Number(pid),
      parentPid: Number(parent),
      uid: Number(uid),
      threads: Number(threads),
      cpuMs: Number(ticks) * MS_PER_TICK,
      residentBytes: Number(pages) * PAGE_BYTES,
      startedAt: Math.round(bootedAt + Number(start) * MS_PER_TICK),
      command: command.join(' '),
    };
  });
}
