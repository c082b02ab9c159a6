// The root file system of a container with a user namespace: the same files, with the container's ids for owners.

import { chmod, chown, lchown, lstat, mkdir, readdir, rmdir } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { ContainerId, IdMapping } from '@heptad/core';
import { ContainerError, errnoOf } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { Snapshotter } from '../image/snapshotter.ts';
import { runOrThrow } from '../system/command.ts';
import { type IdMappings, mountMapped } from './idmapped-mount.ts';
import { unmountBelow } from './mounts.ts';
import { PERL } from './relays.ts';
import { kernelAtLeast } from './seccomp.ts';

// The runtime enters the namespace before it looks at the root, so all directories above it must let the ids through.
const ROOTS = '/run/heptad/roots';
/** Since then overlayfs takes layers that are idmapped mounts. */
const MIN_KERNEL = '5.19';
const MOUNT_CALL: Readonly<Record<string, number>> = { x64: 165, arm64: 40 };
/** What overlayfs does on behalf of the container it does as whoever mounted it: as the container's root, with these. */
const MOUNTER_CAPABILITIES =
  '+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+setfcap,+sys_admin,+mknod,+setuid,+setgid';
const MOUNT_SCRIPT = `
my ($call, $target, $data) = @ARGV;
my ($source, $type) = ('overlay', 'overlay');
syscall(0 + $call, $source, $target, $type, 0, $data) == 0 or die "cannot mount the root file system: $!\\n";
`;

/** Why containers cannot have user namespaces here; undefined when they can. */
export function whyNoUserNamespaces(perl: boolean): string | undefined {
  if (!kernelAtLeast(release(), MIN_KERNEL))
    return `user namespaces of containers need Linux ${MIN_KERNEL} or newer, for idmapped layers`;
  if (MOUNT_CALL[process.arch] === undefined)
    return `user namespaces of containers are not there on ${process.arch}`;
  return perl ? undefined : 'user namespaces of containers need perl: apt-get install perl-base';
}

/** What a directory of layers can be mounted from. */
export interface MappedRootOptions {
  readonly id: ContainerId;
  /** The container's directory, with `upper` and `work` in it. */
  readonly directory: string;
  /** Where the merged file system is to be. */
  readonly rootfs: string;
  readonly mappings: IdMappings;
  readonly snapshots: Snapshotter;
  readonly top: Digest;
}

/** Where the mounts of a container are. */
function rootsOf(id: ContainerId): { all: string; hidden: string; rootfs: string } {
  const all = join(ROOTS, id);
  return { all, hidden: join(all, 'hidden'), rootfs: join(all, 'rootfs') };
}

/**
 * Mounts the root file system at `rootfs`, and where the container's ids can reach it; returns that path.
 *
 * Layers and the writable directory are idmapped mounts, so on disk everything keeps the ids that the container sees:
 * nothing is copied or given another owner, layers are shared with all other containers, and what it wrote can be made a
 * layer as it is. The writable one is mounted by a process that is the container's root, because overlayfs creates as it.
 */
export async function mountMappedRoot(options: MappedRootOptions): Promise<string> {
  const { id, mappings, snapshots } = options;
  const roots = rootsOf(id);
  const root = { uid: hostId(mappings.uids, 0), gid: hostId(mappings.gids, 0) };
  const layers = join(roots.hidden, 'layers');
  const own = join(roots.hidden, 'own');
  await mkdir(ROOTS, { recursive: true, mode: 0o711 });
  for (const path of [roots.all, roots.hidden, layers, own, roots.rootfs]) await mkdir(path, { mode: 0o700 });
  await chown(roots.all, 0, root.gid);
  await chmod(roots.all, 0o710);
  await mountMapped(snapshots.path, layers, mappings);
  await mountMapped(options.directory, own, mappings);
  const { options: settings, directory } = await snapshots.describe(options.top, {
    upper: join(own, 'upper'),
    work: join(own, 'work'),
    layers,
  });
  const who = ['--reuid', String(root.uid), '--regid', String(root.gid), '--clear-groups'];
  const may = ['--inh-caps', MOUNTER_CAPABILITIES, '--ambient-caps', MOUNTER_CAPABILITIES];
  const mount = [PERL, '-e', MOUNT_SCRIPT, String(MOUNT_CALL[process.arch]), options.rootfs, settings];
  await runOrThrow('setpriv', [...who, ...may, ...mount], { cwd: directory });
  await runOrThrow('mount', ['--bind', options.rootfs, roots.rootfs]);
  return roots.rootfs;
}

/** Shows a named volume with the container's ids; returns where. */
export async function mountMappedVolume(
  id: ContainerId,
  index: number,
  data: string,
  mappings: IdMappings,
): Promise<string> {
  const path = join(rootsOf(id).hidden, `volume${index}`);
  await mkdir(path, { mode: 0o700 });
  await mountMapped(data, path, mappings);
  return path;
}

/** Which of the container's mounts {@link mountMappedVolume} shows at `path`; undefined: none. */
export function mappedVolumeAt(id: ContainerId, path: string): number | undefined {
  const index = path.startsWith(`${rootsOf(id).hidden}/`) ? /\/volume(\d+)$/.exec(path)?.[1] : undefined;
  return index === undefined ? undefined : Number(index);
}

/** Takes the mounts of a container away; none is fine. */
export async function unmountMappedRoot(id: ContainerId): Promise<void> {
  const { all } = rootsOf(id);
  if ((await lstat(all).catch(() => undefined)) === undefined) return;
  await unmountBelow(all);
  // Never recursively: were something still mounted, it would be emptied.
  const hidden = join(all, 'hidden');
  const names = await readdir(hidden).catch(() => []);
  const inside = names.map((name) => join(hidden, name));
  for (const path of [...inside, hidden, join(all, 'rootfs'), all]) {
    await rmdir(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }
}

/** The host's id for one of the container's. Throws `INVALID_ARGUMENT` when the mapping has none. */
export function hostId(ranges: readonly IdMapping[], id: number): number {
  const range = ranges.find(({ containerId, size }) => containerId <= id && id < containerId + size);
  if (range !== undefined) return range.hostId + (id - range.containerId);
  throw new ContainerError('INVALID_ARGUMENT', `the user namespace has no id ${id}`, {
    hint: 'use a user and groups within the ranges that are mapped',
  });
}

/** Gives what was copied out of a mapped root back the owners that the container sees. */
export async function unmapOwners(directory: string, mappings: IdMappings): Promise<void> {
  const info = await lstat(directory);
  await lchown(directory, containerId(mappings.uids, info.uid), containerId(mappings.gids, info.gid));
  // The permission bits that a change of owner takes away.
  if (!info.isSymbolicLink()) await chmod(directory, info.mode & 0o7777);
  if (!info.isDirectory()) return;
  for (const name of await readdir(directory)) await unmapOwners(join(directory, name), mappings);
}

function containerId(ranges: readonly IdMapping[], id: number): number {
  const range = ranges.find((each) => each.hostId <= id && id < each.hostId + each.size);
  return range === undefined ? id : range.containerId + (id - range.hostId);
}
