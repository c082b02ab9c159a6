// Who a process is: a pid alone may have been reused, a pid with its start time and boot cannot.

import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';

/** A process, told apart from any later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks from boot to the process's start. */
  readonly startTime: string;
}

/** Changes at every boot of the machine. */
export async function currentBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** State letter and start time in the text of /proc/PID/stat; the command's name may hold spaces and brackets. */
export function parseStat(text: string): { state: string; parent: number; startTime: string } | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  // Field 22 counted from 1 where the state is field 3.
  const startTime = fields[19];
  if (state === undefined || parent === undefined || startTime === undefined) return undefined;
  return { state, parent: Number(parent), startTime };
}

/** The identity of a live process; undefined when there is none (a zombie counts as gone). */
export function identify(pid: number): ProcessIdentity | undefined {
  let text: string;
  try {
    // Synchronous on purpose: /proc never blocks, and check and kill must not be separated by a turn of the loop.
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const stat = parseStat(text);
  return stat === undefined || stat.state === 'Z' || stat.state === 'X'
    ? undefined
    : { pid, startTime: stat.startTime };
}

/** Whether exactly this process still lives. */
export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** Signals exactly this process; false when it is gone. */
export function signalProcess(target: ProcessIdentity, signal: number): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ESRCH')
      return false;
    throw error;
  }
}

/** A live process and all that descend from it, itself first. */
export async function descendants(pid: number): Promise<ProcessIdentity[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parseStat(await readFile(`/proc/${name}/stat`, 'utf8').catch(() => ''))?.parent;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: ProcessIdentity[] = [];
  const left = [pid];
  for (let next = left.shift(); next !== undefined; next = left.shift()) {
    const process = identify(next);
    if (process !== undefined) found.push(process);
    left.push(...(children.get(next) ?? []));
  }
  return found;
}
