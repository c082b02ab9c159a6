// portOwner: which process listens on a port, read from /proc, for an error message that helps.

import { readdir, readFile, readlink } from 'node:fs/promises';

/** Processes looked at; a machine with more is answered "unknown" rather than searched for seconds. */
const MAX_PROCESSES = 4_096;
const LISTEN_STATE = '0A';

/** `nginx (pid 812)`, or `undefined` when it cannot be told (no /proc, no permission, gone). */
export async function portOwner(port: number): Promise<string | undefined> {
  try {
    const inodes = await listeningInodes(port);
    if (inodes.size === 0) return undefined;
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).slice(0, MAX_PROCESSES);
    for (const pid of pids) {
      if (await holds(pid, inodes)) {
        const name = (await readFile(`/proc/${pid}/comm`, 'utf8')).trim();
        return `${name} (pid ${pid})`;
      }
    }
  } catch {
    // /proc is Linux only and processes come and go while it is read: not knowing is a normal answer here.
  }
  return undefined;
}

async function listeningInodes(port: number): Promise<Set<string>> {
  const inodes = new Set<string>();
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const lines = (await readFile(table, 'utf8').catch(() => '')).split('\n').slice(1);
    for (const line of lines) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(suffix) && fields[3] === LISTEN_STATE && fields[9] !== undefined)
        inodes.add(fields[9]);
    }
  }
  return inodes;
}

async function holds(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const descriptor of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '');
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined && inodes.has(inode)) return true;
  }
  return false;
}
