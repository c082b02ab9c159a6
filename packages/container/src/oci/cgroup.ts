// Which cgroup hierarchies this machine has, where a container's cgroup lies in them, and what it measures.

import { readdir, readFile, readlink, rmdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.ts';
import { readTextIfAny } from '../system/files.ts';

/** `hybrid`: controllers are on v1, while a v2 hierarchy exists beside them for bookkeeping. */
export type CgroupMode = 'unified' | 'hybrid' | 'legacy';

/** The machine's cgroups as seen from our own process. */
export interface CgroupLayout {
  readonly mode: CgroupMode;
  readonly version: 1 | 2;
  /** Where hierarchies are mounted. */
  readonly root: string;
  /** Our own path in each v1 hierarchy by controller; in v2 under the key ''. */
  readonly own: ReadonlyMap<string, string>;
  /** An ordinary user's: no cgroup may be made, so nothing is limited, frozen or measured. */
  readonly denied?: boolean;
}

/** Pids of the processes in the pid namespace of `init`: what a container consists of where it has no cgroup. */
export async function namespacePids(init: number): Promise<number[]> {
  const own = await readlink(`/proc/${init}/ns/pid`).catch(() => undefined);
  if (own === undefined) return [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const same = await Promise.all(
    pids.map(async (pid) => (await readlink(`/proc/${pid}/ns/pid`).catch(() => undefined)) === own),
  );
  return pids.filter((_, index) => same[index]);
}

const CGROUP2_MAGIC = 0x63677270;
const TMPFS_MAGIC = 0x01021994;

/** Looks the layout up, by the rules of crun's `libcrun_get_cgroup_mode`. */
export async function detectCgroups(
  root = '/sys/fs/cgroup',
  selfPath = '/proc/self/cgroup',
): Promise<CgroupLayout> {
  const types = { root: await fileSystemType(root), unified: await fileSystemType(join(root, 'unified')) };
  const mode = cgroupMode(types);
  return {
    mode,
    version: mode === 'unified' ? 2 : 1,
    root,
    own: parseOwnCgroups(await readFile(selfPath, 'utf8')),
  };
}

async function fileSystemType(path: string): Promise<number | undefined> {
  try {
    return (await statfs(path)).type;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The mode from the file system types of /sys/fs/cgroup and /sys/fs/cgroup/unified. */
export function cgroupMode(types: { root: number | undefined; unified: number | undefined }): CgroupMode {
  if (types.root === CGROUP2_MAGIC) return 'unified';
  return types.root === TMPFS_MAGIC && types.unified === CGROUP2_MAGIC ? 'hybrid' : 'legacy';
}

/** Our own cgroups from the text of /proc/self/cgroup: controller -> path; v2 under ''. */
export function parseOwnCgroups(text: string): Map<string, string> {
  const own = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, controllers, ...path] = line.split(':');
    if (controllers === undefined || path.length === 0) continue;
    for (const controller of controllers.split(',')) own.set(controller, path.join(':'));
  }
  return own;
}

/**
 * The `cgroupsPath` for a container. It is absolute, so the runtime puts it at the root of each hierarchy; a process
 * that is confined below some path of a hierarchy may still create there when it is root.
 */
export function containerCgroup(parent: string, id: string): string {
  return `/${parent}/${id}`;
}

/** The directory of a container's cgroup for one controller. */
export function cgroupDirectory(layout: CgroupLayout, controller: string, cgroupsPath: string): string {
  return layout.version === 2 ? join(layout.root, cgroupsPath) : join(layout.root, controller, cgroupsPath);
}

/** Every directory a container's cgroup may have on this machine. */
export function cgroupDirectories(layout: CgroupLayout, cgroupsPath: string): string[] {
  if (layout.version === 2) return [join(layout.root, cgroupsPath)];
  const controllers = [...layout.own.keys()].map((name) =>
    name === '' ? 'unified' : name.replace(/^name=/, ''),
  );
  return controllers.map((controller) => join(layout.root, controller, cgroupsPath));
}

/** Pids in a cgroup and in those below it. */
export async function cgroupPids(directory: string): Promise<number[]> {
  const text = await readTextIfAny(join(directory, 'cgroup.procs'));
  if (text === undefined) return [];
  const pids = text
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
  for (const child of await childCgroups(directory)) pids.push(...(await cgroupPids(child)));
  return pids;
}

async function childCgroups(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Removes an empty cgroup with those below it, deepest first; missing is fine. Throws when a process is in it. */
export async function removeCgroup(directory: string): Promise<void> {
  for (const child of await childCgroups(directory)) await removeCgroup(child);
  await rmdir(directory).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
