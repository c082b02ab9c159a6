// Extra host names of a container: the engine sets them only at creation, so its hosts file is rewritten in place.

import { readFile, writeFile } from 'node:fs/promises';
import { ContainerError, errnoOf } from '../errors.ts';
import { nameOf } from './container-info.ts';
import type { DockerContainer } from './schema.ts';

/** What follows this line is ours. */
const MARK = '# set by heptad';

/** Replaces the extra names. Throws `NOT_SUPPORTED` when the engine's files are not on this machine or not ours to write. */
export async function rewriteHosts(
  container: DockerContainer,
  hosts: Readonly<Record<string, string>>,
): Promise<void> {
  const path = container.HostsPath ?? '';
  try {
    const before = path === '' ? '' : await readFile(path, 'utf8');
    const text = hostsText(before, container.HostConfig.ExtraHosts ?? [], hosts);
    // In place and not by rename: the container sees this very file through a bind mount.
    await writeFile(path, text);
  } catch (cause) {
    const why = path === '' ? 'it has none before it is started' : (errnoOf(cause) ?? String(cause));
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot set the hosts of container "${nameOf(container)}": its hosts file cannot be written (${why})`,
      {
        cause,
        hint: 'start the container first; the Docker daemon must run on this machine, and this process as root. The oci runtime has it always',
      },
    );
  }
}

/** The file with its extra names replaced: those of the creation and those set later. */
export function hostsText(
  before: string,
  extraHosts: readonly string[],
  hosts: Readonly<Record<string, string>>,
): string {
  const atCreation = new Set(
    extraHosts.map((entry) => {
      const colon = entry.indexOf(':');
      return `${entry.slice(colon + 1)}\t${entry.slice(0, colon)}`;
    }),
  );
  const lines = before.split('\n');
  const mark = lines.indexOf(MARK);
  const kept = lines
    .slice(0, mark < 0 ? lines.length : mark)
    .filter((line) => line !== '' && !atCreation.has(line));
  const added = Object.entries(hosts).map(([name, address]) => `${address}\t${name}`);
  return `${[...kept, MARK, ...added].join('\n')}\n`;
}
