// What virtual machines can do beyond containers: snapshots and clones of their disks, and how they are virtualised.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerId, ContainerInfo, ContainerRuntime, ContainerSpec } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { temporaryBeside } from '../system/files.ts';
import type { Accelerator } from './accelerator.ts';
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
import { type PlatformFinder, platformDirectory, type Virtualization } from './platform.ts';
import { readSecret } from './prepare.ts';
import { machineDirectory } from './start.ts';
import type { VmDriver } from './vm-driver.ts';

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

/** What the verbs work with. */
export interface VirtualMachinesOptions {
  readonly runtime: Pick<ContainerRuntime, 'create' | 'inspect'>;
  readonly driver: VmDriver;
  readonly platform: PlatformFinder;
  readonly home: string;
  readonly clock: Clock;
  readonly recordOf: (id: ContainerId) => ContainerRecord | undefined;
}

/** The machines among a runtime's containers. A container that is none is refused with `NOT_SUPPORTED`. */
export class VirtualMachines {
  readonly #options: VirtualMachinesOptions;

  constructor(options: VirtualMachinesOptions) {
    this.#options = options;
  }

  /** How guests are virtualised here, by name. The first call may take some seconds: it boots one to see. */
  async virtualization(): Promise<Virtualization> {
    return await this.#options.platform.virtualization();
  }

  /** What is known of a container and its machine. */
  async inspect(id: ContainerId): Promise<VmInfo> {
    const info = await this.#options.runtime.inspect(id);
    const facts =
      info.pid === undefined
        ? undefined
        : await this.#options.driver.machines.facts(this.#directory(info.id));
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
    await takeSnapshot(directory, name, this.#options.clock, await this.#running(record));
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
    await deleteSnapshot(directory, name, this.#options.clock, await this.#running(record));
  }

  /**
   * Makes another container of the same spec whose disk begins as this one's is now. Published ports are the original's
   * own and are left out, unless given. Answers the id; it is created, not started.
   */
  async clone(id: ContainerId, options: CloneOptions): Promise<ContainerId> {
    const { record, directory } = await this.#machine(id);
    const launch = await readLaunch(directory);
    // Beside the others of the platform: on the same file system, and swept away with them after a crash.
    const target = temporaryBeside(join(platformDirectory(this.#options.home), `clone-of-${record.id}`));
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
    await copyDisk(directory, target, this.#options.clock, await this.#running(record));
    this.#options.driver.takeOver(spec, target);
    try {
      return await this.#options.runtime.create(spec);
    } finally {
      // Taken over by now, unless creating failed.
      await rm(target, { force: true });
    }
  }

  async #machine(id: ContainerId): Promise<{ record: ContainerRecord; directory: string }> {
    const info = await this.#options.runtime.inspect(id);
    const record = this.#options.recordOf(info.id);
    if (record === undefined)
      throw new ContainerError('CONTAINER_NOT_FOUND', `there is no container "${id}"`);
    if (info.isolation !== 'vm')
      throw notSupported('oci', `work on the disk of container "${info.name}"`, 'vm');
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
    return { directory: this.#directory(record.id), agent: await this.#options.driver.agent(record) };
  }

  #directory(id: ContainerId): string {
    return machineDirectory(this.#options.home, id);
  }
}

function valueIn(lines: readonly string[], name: string): string {
  return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
}
