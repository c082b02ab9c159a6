// What the kernel shows of processes: who they are, what they use, what they were started as.

import { readFile } from 'node:fs/promises';
import type { ContainerProcess } from '@heptad/core';
import { readTextIfAny } from './files.ts';

const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
// A command line can have megabytes; this much tells which one it is.
const MAX_COMMAND_CHARACTERS = 4096;

/** The processes that still live of `pids`, `mainPid` first, then by pid. */
export async function describeProcesses(
  pids: readonly number[],
  mainPid: number | undefined,
): Promise<ContainerProcess[]> {
  const bootedAt = bootTimeMs(await readFile('/proc/stat', 'utf8'));
  const found = await Promise.all([...new Set(pids)].map((pid) => describe(pid, bootedAt)));
  const rank = ({ pid }: ContainerProcess): number => (pid === mainPid ? 0 : pid);
  return found.filter((process) => process !== undefined).sort((one, other) => rank(one) - rank(other));
}

/** When the machine was started, from the text of /proc/stat. */
export function bootTimeMs(text: string): number {
  return Number(/^btime (\d+)$/m.exec(text)?.[1] ?? 0) * 1000;
}

async function describe(pid: number, bootedAt: number): Promise<ContainerProcess | undefined> {
  const [stat, status, command] = await Promise.all(
    ['stat', 'status', 'cmdline'].map((name) => readTextIfAny(`/proc/${pid}/${name}`)),
  );
  if (stat === undefined || status === undefined) return undefined;
  return parseProcess(pid, { stat, status, command: command ?? '' }, bootedAt);
}

/** A process from the texts of its files in /proc; undefined for a zombie, which is only a name. */
export function parseProcess(
  pid: number,
  texts: { stat: string; status: string; command: string },
  bootedAt: number,
): ContainerProcess | undefined {
  // The name in brackets may hold spaces and brackets itself.
  const close = texts.stat.lastIndexOf(')');
  const name = texts.stat.slice(texts.stat.indexOf('(') + 1, close);
  const fields = texts.stat.slice(close + 2).split(' ');
  const at = (index: number): number => Number(fields[index] ?? 0);
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const written = texts.command.replace(/\0+$/, '').replaceAll('\0', ' ').slice(0, MAX_COMMAND_CHARACTERS);
  const toMs = (ticks: number): number => Math.round((ticks * 1000) / CLOCK_TICKS_PER_SECOND);
  return {
    pid,
    parentPid: at(1),
    uid: Number(/^Uid:\s+(\d+)/m.exec(texts.status)?.[1] ?? 0),
    threads: at(17),
    cpuMs: toMs(at(11) + at(12)),
    residentBytes: at(21) * PAGE_BYTES,
    startedAt: bootedAt + toMs(at(19)),
    command: written === '' ? `[${name}]` : written,
  };
}
