// What a platform leaves on the machine: processes, mounts, namespaces, cgroups, addresses. Compared before and after.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

function lines(command: string, args: readonly string[]): string[] {
  return execFileSync(command, args, { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '');
}

/** Command lines of the processes of a platform, its containers' monitors among them. */
export function processesOf(home: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (command.includes(home) || environment.includes(`HEPTAD_HOME=${home}\0`)) found.push(command);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

/** Everything of ours that can be seen from outside. `home`, `bridge` and the containers' `ids` tell this platform from others. */
export function footprint(
  home: string,
  bridge: string,
  ids: readonly string[] = [],
): Record<string, string[]> {
  const links = lines('ip', ['-o', 'link', 'show']);
  const addresses = lines('ip', ['-o', '-4', 'addr', 'show']);
  // A namespace's name holds the first half of its container's id.
  const ofOurs = (text: string): boolean => ids.some((id) => text.includes(id.slice(0, 32)));
  return {
    processes: processesOf(home),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(home)),
    namespaces: lines('ip', ['netns', 'list']).filter(ofOurs),
    links: links.filter((line) => line.includes(` ${bridge}`)),
    addresses: addresses.filter((line) => line.includes(` ${bridge} `)),
    cgroups: lines('find', ['/sys/fs/cgroup', '-type', 'd']).filter(ofOurs),
  };
}
