// Shared by the tests of virtual machines: whether there can be any, and a runtime with small machines.

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageStore } from '@heptad/container';
import { type CniBridgeNetwork, VmRuntime } from '@heptad/container';
import { systemClock } from '@heptad/core';
import { PlatformFinder } from '../src/vm/platform.ts';
import { temporaryDirectory } from './support.ts';

/** Why virtual machines cannot be tested here; undefined when they can. With CI=true missing packages are a failure. */
export const noMachines: string | undefined = await whyNot();

async function whyNot(): Promise<string | undefined> {
  const directory = await temporaryDirectory();
  try {
    await new PlatformFinder({ directory, clock: systemClock, accelerator: 'auto' }).platform();
    return undefined;
  } catch (error) {
    if (process.env.CI === 'true') throw error;
    process.stderr.write(`skipped, virtual machines do not work here: ${String(error)}\n`);
    return String(error);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Opens a VM runtime in `home`; the disks of images are kept in `base`, where all tests of a file find them. */
export async function openVm(
  home: string,
  images: ImageStore,
  base: string,
  networks: readonly CniBridgeNetwork[] = [],
): Promise<VmRuntime> {
  return await VmRuntime.open({
    home: join(home, 'vm'),
    bases: join(base, 'bases'),
    images,
    networks,
    memoryBytes: 256 * 1024 * 1024,
    diskBytes: 2 * 1024 ** 3,
  });
}

/** Files in a directory of a machine; [] when it is gone. */
export async function machineFiles(home: string, id: string): Promise<string[]> {
  return await readdir(join(home, 'vm', 'containers', id)).catch(() => []);
}
