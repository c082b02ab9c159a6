// Puts a driver of virtual machines together, for a runtime of machines only and for one that has containers too.

import { join } from 'node:path';
import type { Clock } from '@heptad/core';
import type { ImageStore } from '../image/image-store.ts';
import type { NetworkBackend } from '../network/backend.ts';
import type { Accelerator } from './accelerator.ts';
import { BaseImages } from './base-image.ts';
import { PlatformFinder, platformDirectory } from './platform.ts';
import { machineDirectory } from './start.ts';
import { VmDriver } from './vm-driver.ts';

/** How machines are made. */
export interface MachineSettings {
  /** Where the disks of images are kept; runtimes may share it. Default `<home>/bases`. */
  readonly bases?: string;
  /** `auto` (default): KVM where a guest boots with it, else software emulation. */
  readonly accelerator?: 'auto' | Accelerator;
  /** Memory of a program without a limit, bytes. Default 512 MiB. */
  readonly memoryBytes?: number;
  /** Size of a machine's disk, bytes; it takes space as it fills. Default 8 GiB. */
  readonly diskBytes?: number;
}

/** What a driver of machines works with. */
export interface MakeDriverOptions extends MachineSettings {
  readonly home: string;
  readonly images: ImageStore;
  readonly volumes: string;
  readonly networks: ReadonlyMap<string, NetworkBackend>;
  readonly defaultNetwork: string;
  readonly clock: Clock;
}

const DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024;
const DEFAULT_DISK_BYTES = 8 * 1024 ** 3;

/** Makes the driver. Nothing is looked for until it is asked for something. */
export function makeVmDriver(options: MakeDriverOptions): { driver: VmDriver; platform: PlatformFinder } {
  const { home, images, volumes, networks, defaultNetwork, clock } = options;
  const platform = new PlatformFinder({
    directory: platformDirectory(home),
    clock,
    accelerator: options.accelerator ?? 'auto',
  });
  const bases = new BaseImages(
    options.bases ?? join(home, 'bases'),
    images,
    options.diskBytes ?? DEFAULT_DISK_BYTES,
  );
  const driver = new VmDriver({
    home,
    images,
    bases,
    volumes,
    networks,
    defaultNetwork,
    directoryOf: (id) => machineDirectory(home, id),
    clock,
    platform,
    memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
  });
  return { driver, platform };
}
