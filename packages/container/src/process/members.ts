// Which processes belong to a container that has no cgroup: they carry its mark in their environment, or share a session.

import { readdir } from 'node:fs/promises';
import { readTextIfAny } from '../system/files.ts';
import { type ProcessIdentity, signalProcess } from '../system/processes.ts';

/** The environment variable that marks a container's processes. */
export const MARK = 'HEPTAD_CONTAINER_ID';

/** A process of a container. */
export interface Member extends ProcessIdentity {
  readonly session: number;
  /** Clock ticks of CPU, those of children that have ended included. */
  readonly cpuTicks: number;
  readonly threads: number;
  /** Pages in memory. */
  readonly residentPages: number;
}

/** What /proc/PID/stat says; undefined for a zombie or a line that is none. */
export function parseMember(pid: number, text: string): Member | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (index: number): number => Number(fields[index] ?? 0);
  const startTime = fields[19];
  if (startTime === undefined || fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return {
    pid,
    startTime,
    session: at(3),
    cpuTicks: at(11) + at(12) + at(13) + at(14),
    threads: at(17),
    residentPages: at(21),
  };
}

/** All processes of a container, its wrapper included. */
export async function membersOf(id: string): Promise<Member[]> {
  const mark = `${MARK}=${id}`;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const looked = await Promise.all(
    pids.map(async (pid) => {
      const [stat, environment] = await Promise.all([
        readTextIfAny(`/proc/${pid}/stat`),
        readTextIfAny(`/proc/${pid}/environ`),
      ]);
      const member = stat === undefined ? undefined : parseMember(Number(pid), stat);
      return { member, marked: environment?.split('\0').includes(mark) === true };
    }),
  );
  const seen = looked.flatMap(({ member, marked }) => (member === undefined ? [] : [{ member, marked }]));
  // A child that cleans its environment is still in the session of its parent.
  const sessions = new Set(seen.filter(({ marked }) => marked).map(({ member }) => member.session));
  return seen
    .filter(({ member, marked }) => marked || sessions.has(member.session))
    .map(({ member }) => member);
}

/** Signals every process of a container. */
export async function signalMembers(id: string, signal: number): Promise<number> {
  const members = await membersOf(id);
  for (const member of members) signalProcess(member, signal);
  return members.length;
}
