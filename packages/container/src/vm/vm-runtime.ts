// VmRuntime: containers as virtual machines, each with a kernel of its own, behind the same contract.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerId, ContainerInfo, ContainerSpec, Random } from '@heptad/core';
import { systemClock, systemRandom } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ImageStore } from '../image/image-store.ts';
import { openHome } from '../lifecycle/home.ts';
import { ManagedRuntime } from '../lifecycle/managed-runtime.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import type { NetworkBackend } from '../network/backend.ts';
import { deleteAbandonedTemporaries, temporaryBeside } from '../system/files.ts';
import type { Accelerator } from './accelerator.ts';
import { BaseImages } from './base-image.ts';
import {
  copyDisk,
  type DiskSnapshot,
  deleteSnapshot,
  listSnapshots,
  type RunningMachine,
  restoreSnapshot,
  takeSnapshot,
} from './disks.ts';
import { type HostFigures, hostFigures } from './figures.ts';
import { readLaunch } from './launch.ts';
import { PlatformFinder, type Virtualization } from './platform.ts';
import { readSecret, USER_NETWORK_NAME } from './prepare.ts';
import { machineDirectory } from './start.ts';
import { VmDriver } from './vm-driver.ts';

/** Options of {@link VmRuntime.open}. */
export interface VmRuntimeOptions {
  /** The directory of this runtime's machines. One process at a time. */
  readonly home: string;
  readonly images: ImageStore;
  /** Networks by name, to which machines are plugged like containers. Default none. */
  readonly networks?: readonly NetworkBackend[];
  /** The network of a machine that names none. Default the first of `networks`, else `user`: QEMU's own. */
  readonly defaultNetwork?: string;
  /** Where the disks of images are kept; runtimes may share it. Default `<home>/bases`. */
  readonly bases?: string;
  /** Where named volumes live. Default `<home>/volumes`. */
  readonly volumes?: string;
  /** `auto` (default): KVM where a guest boots with it, else software emulation. */
  readonly accelerator?: 'auto' | Accelerator;
  /** Memory of a program without a limit, bytes. Default 512 MiB. */
  readonly memoryBytes?: number;
  /** Size of a machine's disk, bytes; it takes space as it fills. Default 8 GiB. */
  readonly diskBytes?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** What is known of a machine beyond what every container has. */
export interface VmInfo extends ContainerInfo {
  /** How it is virtualised, and what it costs the host; absent while it does not run. */
  readonly machine?: {
    readonly virtualization: Virtualization['processor'];
    readonly accelerator: Accelerator;
    readonly devices: Virtualization['devices'];
    readonly virtualCpus: number;
    /** Memory it was booted with, bytes: the limit of the program and what the guest's kernel needs. */
    readonly memoryBytes: number;
    readonly host: HostFigures;
  };
}

/** How a clone differs from its original. */
export type CloneOptions = Pick<ContainerSpec, 'name'> & Partial<Omit<ContainerSpec, 'name' | 'image'>>;

const DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024;
const DEFAULT_DISK_BYTES = 8 * 1024 ** 3;

/**
 * Containers as QEMU virtual machines: the same images, verbs and limits, behind the wall of a kernel of their own.
 * They outlive this process; after a restart `recover()` adopts them.
 */
export class VmRuntime extends ManagedRuntime {
  readonly #driver: VmDriver;
  readonly #platform: PlatformFinder;
  readonly #home: string;
  readonly #clock: Clock;
  readonly #recordOf: (id: ContainerId) => ContainerRecord | undefined;

  private constructor(
    parts: { driver: VmDriver; platform: PlatformFinder; home: string; clock: Clock; random: Random },
    opened: Awaited<ReturnType<typeof openHome>>,
  ) {
    super(parts.driver, parts, opened);
    this.#driver = parts.driver;
    this.#platform = parts.platform;
    this.#home = parts.home;
    this.#clock = parts.clock;
    this.#recordOf = (id) => opened.containers.byId(id)?.record;
  }

  /** Looks for the platform and opens `home`. Throws `RUNTIME_UNAVAILABLE` with everything missing, `HOME_IN_USE`. */
  static async open(options: VmRuntimeOptions): Promise<VmRuntime> {
    const { home, images } = options;
    const clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const platform = new PlatformFinder({
      directory: join(home, 'platform'),
      clock,
      accelerator: options.accelerator ?? 'auto',
    });
    await platform.platform();
    const opened = await openHome(home);
    await deleteAbandonedTemporaries(join(home, 'platform'));
    const networks = new Map((options.networks ?? []).map((network) => [network.name, network]));
    const driver = new VmDriver({
      home,
      images,
      bases: new BaseImages(
        options.bases ?? join(home, 'bases'),
        images,
        options.diskBytes ?? DEFAULT_DISK_BYTES,
      ),
      volumes: options.volumes ?? join(home, 'volumes'),
      networks,
      defaultNetwork: options.defaultNetwork ?? networks.keys().next().value ?? USER_NETWORK_NAME,
      directoryOf: (id) => machineDirectory(home, id),
      clock,
      platform,
      memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
    });
    return new VmRuntime({ driver, platform, home, clock, random }, opened);
  }

  /** How guests are virtualised here, by name. The first call may take some seconds: it boots one to see. */
  async virtualization(): Promise<Virtualization> {
    return await this.#platform.virtualization();
  }

  /** What is known of a container and its machine. */
  override async inspect(id: ContainerId): Promise<VmInfo> {
    const info = await super.inspect(id);
    const facts =
      info.pid === undefined ? undefined : await this.#driver.machines.facts(this.#directory(info.id));
    if (facts === undefined || facts.pid !== info.pid) return info;
    const { accelerator, cpus, memoryBytes } = facts;
    return {
      ...info,
      machine: {
        virtualization: accelerator === 'kvm' ? 'hardware-assisted' : 'full',
        accelerator,
        devices: 'para',
        virtualCpus: cpus,
        memoryBytes,
        host: await hostFigures(facts.pid),
      },
    };
  }

  /** Keeps the disk as it is now; a running machine's file system is made whole first. `NAME_IN_USE`, `INVALID_ARGUMENT`. */
  async snapshot(id: ContainerId, name: string): Promise<void> {
    const { record, directory } = await this.#machine(id);
    await takeSnapshot(directory, name, this.#clock, await this.#running(record));
  }

  /** Snapshots of the disk, oldest first. */
  async snapshots(id: ContainerId): Promise<DiskSnapshot[]> {
    return await listSnapshots((await this.#machine(id)).directory);
  }

  /** Puts the disk back to a snapshot; what was written since is lost. `ILLEGAL_TRANSITION` while it runs. */
  async restore(id: ContainerId, name: string): Promise<void> {
    const { record, directory } = await this.#machine(id);
    if (record.state === 'running' || record.state === 'paused') {
      throw new ContainerError(
        'ILLEGAL_TRANSITION',
        `cannot restore a snapshot of container "${record.name}": it is ${record.state}`,
        {
          hint: 'stop it first',
          details: { from: record.state, to: 'restored' },
        },
      );
    }
    await restoreSnapshot(directory, name);
  }

  /** Forgets a snapshot. */
  async deleteSnapshot(id: ContainerId, name: string): Promise<void> {
    const { record, directory } = await this.#machine(id);
    await deleteSnapshot(directory, name, this.#clock, await this.#running(record));
  }

  /**
   * Makes another container of the same spec whose disk begins as this one's is now. Published ports are the original's
   * own and are left out, unless given. Answers the id; it is created, not started.
   */
  async clone(id: ContainerId, options: CloneOptions): Promise<ContainerId> {
    const { record, directory } = await this.#machine(id);
    const launch = await readLaunch(directory);
    // Beside the others of the platform: on the same file system, and swept away with them after a crash.
    const target = temporaryBeside(join(this.#home, 'platform', `clone-of-${record.id}`));
    const environment = Object.fromEntries(
      Object.keys(record.spec.environment ?? {}).map((key) => [key, valueIn(launch.environment, key)]),
    );
    const secrets = await Promise.all(
      (record.spec.secrets ?? []).map(async (secret, index) => ({
        ...secret,
        content: await readSecret(directory, String(index)),
      })),
    );
    const spec: ContainerSpec = {
      ...record.spec,
      ports: [],
      environment,
      secrets,
      ...options,
      image: launch.imageDigest,
    };
    await copyDisk(directory, target, this.#clock, await this.#running(record));
    this.#driver.takeOver(spec, target);
    try {
      return await this.create(spec);
    } finally {
      // Taken over by now, unless creating failed.
      await rm(target, { force: true });
    }
  }

  async #machine(id: ContainerId): Promise<{ record: ContainerRecord; directory: string }> {
    const info = await super.inspect(id);
    const record = this.#recordOf(info.id);
    if (record === undefined)
      throw new ContainerError('CONTAINER_NOT_FOUND', `there is no container "${id}"`);
    return { record, directory: this.#directory(info.id) };
  }

  async #running(record: ContainerRecord): Promise<RunningMachine | undefined> {
    if (record.state === 'created' || record.state === 'stopped') return undefined;
    if (record.state === 'paused') {
      throw new ContainerError(
        'ILLEGAL_TRANSITION',
        `cannot work on the disk of container "${record.name}": it is paused`,
        {
          hint: 'resume or stop it first',
          details: { from: 'paused', to: 'snapshot' },
        },
      );
    }
    return { directory: this.#directory(record.id), agent: await this.#driver.agent(record) };
  }

  #directory(id: ContainerId): string {
    return machineDirectory(this.#home, id);
  }
}

function valueIn(lines: readonly string[], name: string): string {
  return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
}
