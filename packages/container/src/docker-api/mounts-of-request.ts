// Which volumes, binds and memory a client asks to see in a container, in Docker's three ways of writing them.

import { mkdir, stat } from 'node:fs/promises';
import type { Mount } from '@heptad/core';
import { parseBytes } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { CreateRequest, HostConfigRequest } from './create-request.ts';
import type { VolumeStore } from './volumes.ts';

/** The mounts of a container, and the volumes made for it alone. */
export interface PlannedMounts {
  readonly mounts: readonly Mount[];
  readonly anonymous: readonly string[];
}

/** Plans them; volumes are made known, files on the host are only looked at (and, for `Binds`, made as Docker does). */
export async function planMounts(
  request: CreateRequest,
  imageVolumes: readonly string[],
  volumes: VolumeStore,
): Promise<PlannedMounts> {
  const host: HostConfigRequest = request.HostConfig ?? {};
  const mounts = new Map<string, Mount>();
  const anonymous: string[] = [];
  const addVolume = async (name: string | undefined, target: string, readOnly: boolean): Promise<void> => {
    const volume = await volumes.create({ name });
    if (volume.anonymous) anonymous.push(volume.name);
    mounts.set(target, { type: 'volume', name: volume.name, target, readOnly });
  };
  for (const bind of host.Binds ?? []) {
    const { source, target, readOnly } = parseBind(bind);
    if (source.startsWith('/')) {
      // What `-v` names is made when it is missing, as a directory; clients rely on it.
      await mkdir(source, { recursive: true }).catch(() => undefined);
      mounts.set(target, { type: 'bind', source, target, readOnly });
    } else {
      await addVolume(source, target, readOnly);
    }
  }
  for (const mount of host.Mounts ?? []) {
    const readOnly = mount.ReadOnly ?? false;
    const target = mount.Target;
    if (mount.Type === 'volume') await addVolume(mount.Source || undefined, target, readOnly);
    else if (mount.Type === 'tmpfs') mounts.set(target, tmpfsMount(target, mount.TmpfsOptions ?? {}));
    else if (mount.Type === 'bind') mounts.set(target, await bindMount(mount.Source ?? '', target, readOnly));
    else
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot mount ${target}: type "${mount.Type}" is not supported`,
      );
  }
  for (const [target, options] of Object.entries(host.Tmpfs ?? {})) {
    mounts.set(target, tmpfsMount(target, parseTmpfs(options)));
  }
  for (const target of [...Object.keys(request.Volumes ?? {}), ...imageVolumes]) {
    if (!mounts.has(target)) await addVolume(undefined, target, false);
  }
  return { mounts: [...mounts.values()], anonymous };
}

/** `SOURCE:TARGET[:OPTIONS]`. Throws `INVALID_ARGUMENT`. */
export function parseBind(text: string): { source: string; target: string; readOnly: boolean } {
  const [source = '', target = '', options = '', ...rest] = text.split(':');
  if (source === '' || !target.startsWith('/') || rest.length > 0) {
    throw new ContainerError('INVALID_ARGUMENT', `invalid volume specification: "${text}"`, {
      hint: 'write SOURCE:/target[:ro]',
    });
  }
  const known = [
    'ro',
    'rw',
    'z',
    'Z',
    'nocopy',
    'rprivate',
    'private',
    'consistent',
    'cached',
    'delegated',
    '',
  ];
  const unknown = options.split(',').find((option) => !known.includes(option));
  if (unknown !== undefined) {
    throw new ContainerError('NOT_SUPPORTED', `cannot mount "${text}": option "${unknown}" is not supported`);
  }
  return { source, target, readOnly: options.split(',').includes('ro') };
}

async function bindMount(source: string, target: string, readOnly: boolean): Promise<Mount> {
  if ((await stat(source).catch(() => undefined)) === undefined) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `invalid mount config for type "bind": bind source path does not exist: ${source}`,
    );
  }
  return { type: 'bind', source, target, readOnly };
}

function tmpfsMount(
  target: string,
  options: { SizeBytes?: number | null | undefined; Mode?: number | null | undefined },
): Mount {
  return {
    type: 'tmpfs',
    target,
    ...(options.SizeBytes ? { sizeBytes: options.SizeBytes } : {}),
    ...(options.Mode ? { mode: options.Mode } : {}),
  };
}

function parseTmpfs(options: string): { SizeBytes?: number; Mode?: number } {
  const words = Object.fromEntries(options.split(',').map((word) => word.split('=', 2)));
  return {
    ...(words.size === undefined ? {} : { SizeBytes: parseBytes(String(words.size)) }),
    ...(words.mode === undefined ? {} : { Mode: Number.parseInt(String(words.mode), 8) }),
  };
}
