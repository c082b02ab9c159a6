// Volumes for the VOLUME paths of an image: one of its own for each container and path that nothing else is mounted at.

import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { ContainerId, ContainerSpec, Mount } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageConfig } from '../image/manifest.ts';
import { requireMountTarget } from '../lifecycle/kernel-paths.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { removeTree } from '../system/files.ts';

// Far more than any image has; an image is a stranger's text, and each of them is a directory and a mount.
const MAX_IMAGE_VOLUMES = 64;
// Names are 64 hexadecimal digits, as Docker's: half from the container, so that they are found by its id after any
// crash, half from the path.
const HALF_NAME = 32;

/** The mounts. Throws `INVALID_ARGUMENT` for a path that nothing may be mounted at, `LIMIT_EXCEEDED`. */
export function imageVolumes(id: ContainerId, spec: ContainerSpec, image: ImageConfig['config']): Mount[] {
  const doing = `create container "${spec.name}"`;
  const covered = new Set((spec.mounts ?? []).map(({ target }) => normal(target)));
  const targets = new Set(Object.keys(image.Volumes ?? {}).map(normal));
  const open = [...targets].filter((target) => !covered.has(target)).sort();
  if (open.length > MAX_IMAGE_VOLUMES)
    throw new ContainerError(
      'LIMIT_EXCEEDED',
      `cannot ${doing}: its image declares more than ${MAX_IMAGE_VOLUMES} volumes`,
    );
  return open.map((target) => {
    if (!target.startsWith('/') || target === '/')
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot ${doing}: its image declares a volume at "${target}"`,
        {
          hint: 'build the image with absolute paths other than / in VOLUME',
        },
      );
    requireMountTarget(target, doing);
    const path = createHash('sha256').update(target).digest('hex').slice(0, HALF_NAME);
    return { type: 'volume', name: `${id.slice(0, HALF_NAME)}${path}`, target };
  });
}

/** Deletes those that go with a removed container: the unwanted, or all when it was never made completely. */
export async function removeImageVolumes(record: ContainerRecord, volumes: string): Promise<void> {
  const isWhole = record.imageDigest !== undefined;
  const names = isWhole
    ? (record.unwantedVolumes ?? [])
    : (await readdir(volumes).catch(() => [])).filter(
        (name) => /^[0-9a-f]{64}$/.test(name) && name.startsWith(record.id.slice(0, HALF_NAME)),
      );
  for (const name of names) await removeTree(join(volumes, name));
}

function normal(path: string): string {
  const short = posix.normalize(path).replace(/\/+$/, '');
  return short === '' ? '/' : short;
}
