// VmRuntime: containers as virtual machines, each with a kernel of its own, behind the same contract.

import { join } from 'node:path';
import type { Clock, ContainerId, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import type { ImageStore } from '../image/image-store.ts';
import { openHome } from '../lifecycle/home.ts';
import { ManagedRuntime } from '../lifecycle/managed-runtime.ts';
import { type NetworkBackend, networksByName } from '../network/backend.ts';
import { type MachineSettings, makeVmDriver } from './make-driver.ts';
import type { PlatformFinder } from './platform.ts';
import { USER_NETWORK_NAME } from './prepare.ts';
import { VirtualMachines, type VmInfo } from './virtual-machines.ts';
import type { VmDriver } from './vm-driver.ts';

/** Options of {@link VmRuntime.open}. */
export interface VmRuntimeOptions extends MachineSettings {
  /** The directory of this runtime's machines. One process at a time. */
  readonly home: string;
  readonly images: ImageStore;
  /** Networks by name, to which machines are plugged like containers. Default none. */
  readonly networks?: readonly NetworkBackend[] | ReadonlyMap<string, NetworkBackend>;
  /** The network of a machine that names none. Default the first of `networks`, else `user`: QEMU's own. */
  readonly defaultNetwork?: string;
  /** Where named volumes live. Default `<home>/volumes`. */
  readonly volumes?: string;
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * Containers as QEMU virtual machines: the same images, verbs and limits, behind the wall of a kernel of their own.
 * They outlive this process; after a restart `recover()` adopts them.
 */
export class VmRuntime extends ManagedRuntime {
  /** What machines can do beyond containers. */
  readonly machines: VirtualMachines;

  private constructor(
    parts: { driver: VmDriver; platform: PlatformFinder; home: string; clock: Clock; random: Random },
    opened: Awaited<ReturnType<typeof openHome>>,
  ) {
    super(parts.driver, parts, opened);
    this.machines = new VirtualMachines({
      ...parts,
      runtime: { create: (spec) => this.create(spec), inspect: (id) => super.inspect(id) },
      recordOf: (id) => opened.containers.byId(id)?.record,
    });
  }

  /** Looks for the platform and opens `home`. Throws `RUNTIME_UNAVAILABLE` with everything missing, `HOME_IN_USE`. */
  static async open(options: VmRuntimeOptions): Promise<VmRuntime> {
    const { home } = options;
    const clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const networks = networksByName(options.networks ?? []);
    const { driver, platform } = makeVmDriver({
      ...options,
      volumes: options.volumes ?? join(home, 'volumes'),
      networks,
      defaultNetwork: options.defaultNetwork ?? networks.keys().next().value ?? USER_NETWORK_NAME,
      clock,
    });
    await platform.platform();
    const opened = await openHome(home);
    return new VmRuntime({ driver, platform, home, clock, random }, opened);
  }

  /** What is known of a container and its machine. */
  override async inspect(id: ContainerId): Promise<VmInfo> {
    return await this.machines.inspect(id);
  }
}
