// The getrlimit(2) limits of a container's processes, never above what we may give.

import { readFile } from 'node:fs/promises';
import type { Ulimit } from '@heptad/core';
import type { OciRlimit } from './spec.ts';

/** Hard limits of our own process by the names of specs (`nofile`); -1 is none. */
export type OwnLimits = ReadonlyMap<string, number>;

// containerd's default is 1024; servers with many sockets need more, and a soft limit costs nothing.
const OPEN_FILES = 16_384;
// JSON numbers of JavaScript end below the kernel's RLIM_INFINITY (2^64 - 1); no resource comes near either.
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

const LABELS: Readonly<Record<string, string>> = {
  'Max address space': 'as',
  'Max core file size': 'core',
  'Max cpu time': 'cpu',
  'Max data size': 'data',
  'Max file size': 'fsize',
  'Max file locks': 'locks',
  'Max locked memory': 'memlock',
  'Max msgqueue size': 'msgqueue',
  'Max nice priority': 'nice',
  'Max open files': 'nofile',
  'Max processes': 'nproc',
  'Max resident set': 'rss',
  'Max realtime priority': 'rtprio',
  'Max realtime timeout': 'rttime',
  'Max pending signals': 'sigpending',
  'Max stack size': 'stack',
};

/** Our own hard limits: a container cannot be given more when CAP_SYS_RESOURCE is missing. */
export async function ownHardLimits(path = '/proc/self/limits'): Promise<OwnLimits> {
  const limits = new Map<string, number>();
  for (const line of (await readFile(path, 'utf8')).split('\n')) {
    const [, label, hard] = /^(.+?)\s{2,}\S+\s+(\S+)/.exec(line) ?? [];
    const name = label === undefined ? undefined : LABELS[label];
    if (name !== undefined) limits.set(name, hard === 'unlimited' ? -1 : Number(hard));
  }
  return limits;
}

/** Limits for config.json: `nofile` always, others as asked for; all cut to our own hard ones. */
export function rlimitsOf(asked: Readonly<Record<string, Ulimit>>, own: OwnLimits): OciRlimit[] {
  const wanted = { nofile: { soft: OPEN_FILES, hard: OPEN_FILES }, ...asked };
  return Object.entries(wanted).map(([name, { soft, hard }]) => {
    const most = own.get(name) ?? -1;
    return {
      type: `RLIMIT_${name.toUpperCase()}`,
      soft: cut(soft, most),
      hard: cut(hard, most),
    };
  });
}

function cut(value: number, most: number): number {
  const wanted = value === -1 ? NO_LIMIT : value;
  return most === -1 ? wanted : Math.min(wanted, most);
}
