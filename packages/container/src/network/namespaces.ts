// Named network namespaces under /run/netns: they live without a process, until they are deleted.

import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { run, runOrThrow } from '../system/command.ts';

const DIRECTORY = '/run/netns';

/** The path by which a runtime joins a namespace. */
export function namespacePath(name: string): string {
  return join(DIRECTORY, name);
}

/** Makes a namespace with its loopback interface up. */
export async function addNamespace(name: string): Promise<void> {
  await runOrThrow('ip', ['netns', 'add', name]);
  await runOrThrow('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
}

/** Gives the namespace of a process a name, by which it lives on without the process. */
export async function nameNamespace(name: string, pid: number): Promise<void> {
  await runOrThrow('ip', ['netns', 'attach', name, String(pid)]);
  await runOrThrow('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
}

/** Deletes a namespace; missing is fine. */
export async function deleteNamespace(name: string): Promise<void> {
  const { exitCode, stderr } = await run('ip', ['netns', 'delete', name]);
  if (exitCode === 0 || /No such file or directory/.test(stderr)) return;
  // A mount over it is still busy for an instant when its last process has just died.
  await runOrThrow('ip', ['netns', 'delete', name]);
}

const NAMESPACE_PREFIX = 'heptad-';

/** The network namespace of a container, whichever network made it. */
export function namespaceName(id: ContainerId): string {
  // Half of the id is unique enough and keeps `ip netns list` readable.
  return `${NAMESPACE_PREFIX}${id.slice(0, 32)}`;
}
