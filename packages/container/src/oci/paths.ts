// Where the parts of one container lie; everything is found again from the id.

import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';

/** Paths of one container. */
export interface ContainerPaths {
  readonly directory: string;
  /** config.json, the root file system's mount point, and what conmon and the runtime write. */
  readonly bundle: string;
  readonly rootfs: string;
  /** What the container wrote. */
  readonly upper: string;
  readonly work: string;
  /** conmon's word on the exit code and on memory. */
  readonly persist: string;
  readonly secrets: string;
  readonly hosts: string;
  readonly log: string;
}

/** The paths of container `id` of the runtime in `home`. */
export function containerPaths(home: string, id: ContainerId): ContainerPaths {
  const directory = join(home, 'containers', id);
  const bundle = join(directory, 'bundle');
  return {
    directory,
    bundle,
    rootfs: join(bundle, 'rootfs'),
    upper: join(directory, 'upper'),
    work: join(directory, 'work'),
    persist: join(directory, 'persist'),
    secrets: join(directory, 'secrets'),
    hosts: join(directory, 'hosts'),
    log: join(directory, 'log'),
  };
}
