// Paths in a container that belong to the kernel: nothing is mounted over them, and no program starts in them.

import { posix } from 'node:path';
import { ContainerError } from '../errors.ts';

// The runtime masks kernel files by binding /dev/null and empty directories over them. A volume that another container
// writes meanwhile, mounted here, lets it exchange what is bound for what (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
const KERNEL_TREES: readonly string[] = ['/proc', '/dev/pts', '/dev/fd', '/dev/mqueue'];
const KERNEL_FILES: ReadonlySet<string> = new Set([
  '/dev',
  '/sys',
  '/sys/fs/cgroup',
  '/dev/console',
  '/dev/full',
  '/dev/null',
  '/dev/ptmx',
  '/dev/random',
  '/dev/tty',
  '/dev/urandom',
  '/dev/zero',
]);

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Throws `INVALID_ARGUMENT` when `target` is a place that only the runtime may mount over. */
export function requireMountTarget(target: string, doing: string): void {
  const path = posix.normalize(target).replace(/\/+$/, '');
  if (!KERNEL_FILES.has(path) && !KERNEL_TREES.some((tree) => isBelow(path, tree))) return;
  throw new ContainerError('INVALID_ARGUMENT', `cannot ${doing}: nothing may be mounted over ${path}`, {
    hint: 'choose a target outside of /proc, /sys and the standard devices; host devices are given with "devices"',
  });
}

/**
 * Throws `INVALID_ARGUMENT` when `path` leads through another process's view: files that a runtime left open, or its root
 * directory, were a way out (CVE-2024-21626).
 */
export function requireWorkingDirectory(path: string, doing: string): void {
  if (!isBelow(posix.normalize(path), '/proc')) return;
  throw new ContainerError(
    'INVALID_ARGUMENT',
    `cannot ${doing}: the working directory ${path} is inside of /proc`,
    { hint: 'choose a directory of the image or of a volume' },
  );
}
