// The files a container gets from its runtime: secrets in memory, volumes, directories of the host.

import { chmod, chown, lstat, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId, ContainerSpec, Mount, SecretFile } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { fileInside } from '../image/layer-paths.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, removeTree, syncDirectory, temporaryBeside } from '../system/files.ts';
import type { BindMount } from './generate-spec.ts';
import type { IdMappings } from './idmapped-mount.ts';
import { hostId, mountMappedVolume, unmapOwners } from './mapped-root.ts';
import type { ResolvedUser } from './user.ts';

/** Shows the named volumes of a container that is started again with its ids, where its bundle expects them. */
export async function remapVolumes(
  mounts: readonly Mount[],
  volumes: string,
  id: ContainerId,
  mappings: IdMappings,
): Promise<void> {
  for (const [index, mount] of mounts.entries()) {
    if (mount.type !== 'volume') continue;
    await mountMappedVolume(id, index, join(volumes, mount.name, 'data'), mappings);
  }
}

/** Puts secrets into a memory file system of their own, readable by the container's user only; returns their mounts. */
export async function writeSecrets(
  directory: string,
  secrets: readonly SecretFile[],
  user: ResolvedUser,
  mappings?: IdMappings,
): Promise<BindMount[]> {
  const owner =
    mappings === undefined
      ? user
      : { uid: hostId(mappings.uids, user.uid), gid: hostId(mappings.gids, user.gid) };
  if (secrets.length === 0) return [];
  await mkdir(directory, { mode: 0o700 });
  await runOrThrow('mount', [
    '-t',
    'tmpfs',
    '-o',
    'size=16m,mode=0711,nosuid,nodev,noexec',
    'heptad-secrets',
    directory,
  ]);
  const mounts: BindMount[] = [];
  for (const [index, secret] of secrets.entries()) {
    const source = join(directory, String(index));
    await writeFile(source, secret.content, { mode: 0o600 });
    await chown(source, owner.uid, owner.gid);
    await chmod(source, secret.mode ?? 0o400);
    mounts.push({ source, target: secret.target, readOnly: true });
  }
  return mounts;
}

/** Resolves bind mounts and named volumes; a new volume takes over what the image has at its place. */
export async function hostMounts(
  spec: ContainerSpec,
  volumes: string,
  rootfs: string,
  user: ResolvedUser,
  mapped?: { readonly id: ContainerId; readonly mappings: IdMappings },
): Promise<BindMount[]> {
  const mounts: BindMount[] = [];
  for (const [index, mount] of (spec.mounts ?? []).entries()) {
    if (mount.type === 'tmpfs') continue;
    const readOnly = mount.readOnly ?? false;
    if (mount.type === 'bind') {
      await requirePath(mount.source, spec.name);
      mounts.push({ source: mount.source, target: mount.target, readOnly });
    } else {
      const data = await volume(volumes, mount.name, mount.target, rootfs, user, mapped?.mappings);
      const source =
        mapped === undefined ? data : await mountMappedVolume(mapped.id, index, data, mapped.mappings);
      mounts.push({ source, target: mount.target, readOnly });
    }
  }
  return mounts;
}

async function requirePath(source: string, name: string): Promise<void> {
  await lstat(source).catch((cause: unknown) => {
    throw new ContainerError(
      'PATH_NOT_FOUND',
      `cannot create container "${name}": ${source}, to be mounted into it, does not exist`,
      {
        cause,
        hint: 'create it first; a missing source is not created, because it is most often a typing error',
      },
    );
  });
}

async function volume(
  volumes: string,
  name: string,
  target: string,
  rootfs: string,
  user: ResolvedUser,
  mappings: IdMappings | undefined,
): Promise<string> {
  const directory = join(volumes, name);
  const data = join(directory, 'data');
  const exists = await lstat(data).catch(() => undefined);
  if (exists !== undefined) return data;
  await ensureDirectory(volumes);
  // Filled aside and renamed: a volume that exists is a volume that is complete.
  const fresh = temporaryBeside(directory);
  try {
    await mkdir(join(fresh, 'data'), { recursive: true, mode: 0o755 });
    await fillVolume(join(fresh, 'data'), await fileInside(rootfs, target), user);
    // What was copied shows the owners that the host sees; on disk a volume has those of the container.
    if (mappings !== undefined) await unmapOwners(join(fresh, 'data'), mappings);
    await rename(fresh, directory);
    await syncDirectory(volumes);
  } catch (error) {
    await removeTree(fresh);
    // Two containers may make one volume at once; whoever is second uses the first's.
    if ((await lstat(data).catch(() => undefined)) === undefined) throw error;
  }
  return data;
}

async function fillVolume(data: string, original: string | undefined, user: ResolvedUser): Promise<void> {
  const info = original === undefined ? undefined : await lstat(original);
  if (original === undefined || info?.isDirectory() !== true) {
    await chown(data, user.uid, user.gid);
    return;
  }
  await runOrThrow('cp', ['-a', '--', `${original}/.`, data], { timeoutMs: 600_000 });
  await chown(data, info.uid, info.gid);
  await chmod(data, info.mode & 0o7777);
}
