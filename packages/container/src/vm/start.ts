// Starts a prepared machine: network, shares, QEMU, then the agent is told what its machine is and what to run.

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Clock, ResourceLimits } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { hostsText, resolvText } from '../oci/name-files.ts';
import type { ProcessIdentity } from '../system/processes.ts';
import type { Accelerator } from './accelerator.ts';
import type { AgentConnection } from './agent-connection.ts';
import { DISK_FILE } from './base-image.ts';
import type { Field } from './frames.ts';
import { type GuestAddress, USER_NETWORK, userForwards } from './guest-network.ts';
import { type Launch, limitFields, mainFields, readLaunch } from './launch.ts';
import type { MachineNetwork } from './machine.ts';
import type { Machines } from './machines.ts';
import { pinCpus } from './pinning.ts';
import type { PlatformFinder } from './platform.ts';
import { networkName, type PreparationOptions, readPlug, readSecret, USER_NETWORK_NAME } from './prepare.ts';
import { startShares } from './shares.ts';

/** What the guest's kernel, its first file system and the agent need beside the program: measured 70 MiB, and air. */
export const GUEST_OVERHEAD_BYTES: number = 112 * 1024 * 1024;
// A guest of more virtual CPUs boots slower, and most services do not use more; emulated ones wait for each other.
const DEFAULT_MAX_CPUS = 4;
const MEBIBYTE = 1024 * 1024;

/** What starting works with. */
export interface StartOptions extends PreparationOptions {
  readonly platform: PlatformFinder;
  readonly machines: Machines;
  readonly clock: Clock;
  /** Memory of the program where no limit says how much. */
  readonly memoryBytes: number;
}

/** Starts machines. What it made is taken apart by the driver's release, after a failure too. */
export class MachineStarter {
  private readonly options: StartOptions;

  constructor(options: StartOptions) {
    this.options = options;
  }

  /** Boots the machine and starts its program; answers QEMU's process. */
  async start(record: ContainerRecord): Promise<ProcessIdentity> {
    const { options } = this;
    const directory = options.directoryOf(record.id);
    const launch = await readLaunch(directory);
    const [{ kernel, initramfs }, { accelerator }] = await Promise.all([
      options.platform.platform(),
      options.platform.accelerator(),
    ]);
    const { network, guest, namespace } = await this.plug(record);
    const shares = await startShares(directory, launch.shares, options.clock);
    const machine = await options.machines.boot(
      record.id,
      directory,
      {
        name: `heptad-${record.id}`,
        accelerator,
        kernel,
        initramfs: initramfs.path,
        memoryBytes: machineMemory(record.limits, options.memoryBytes),
        cpus: virtualCpus(record.limits, accelerator),
        disk: DISK_FILE,
        network,
        shares,
      },
      namespace,
    );
    const agent = await options.machines.agent(record.id, directory, machine);
    if (record.limits.cpuset !== undefined) await pinCpus(directory, record.limits.cpuset, options.clock);
    await agent.request('setup', [
      ['hostname', launch.hostname],
      ...limitFields(record.limits),
      ...(await identityFields(options, record, launch, guest?.address ?? record.address)),
      ...addressFields(guest),
      ...launch.sysctls.map((line): Field => ['sysctl', line]),
    ]);
    await sendSecrets(agent, directory, launch);
    const tty: Field[] = record.spec.tty === true ? [['tty', '80x24']] : [];
    await agent.request('main', [...mainFields(launch), ...tty]).catch((cause: unknown) => {
      throw startError(record, launch, cause);
    });
    if (record.spec.openStdin !== true) agent.endMainInput();
    return machine;
  }

  private async plug(
    record: ContainerRecord,
  ): Promise<{ network: MachineNetwork; guest?: GuestAddress; namespace?: string }> {
    const name = networkName(this.options, record.spec);
    if (name === 'none') return { network: { kind: 'none' } };
    const backend = this.options.networks.get(name);
    if (name === USER_NETWORK_NAME || backend === undefined) {
      return {
        network: { kind: 'user', forwards: userForwards(record.spec.ports ?? []) },
        guest: USER_NETWORK,
      };
    }
    const plug = await readPlug(this.options.directoryOf(record.id));
    if (plug === undefined) {
      throw new ContainerError(
        'NETWORK_FAILED',
        `container "${record.name}" has lost its place on network "${name}"`,
      );
    }
    const { namespace, guest, interfaceName, macAddress } = plug;
    return { network: { kind: 'tap', interfaceName, macAddress }, guest, namespace };
  }
}

/** RAM of a machine whose program may use `limits.memoryBytes`. */
export function machineMemory(limits: ResourceLimits, defaultBytes: number): number {
  const bytes = (limits.memoryBytes ?? defaultBytes) + GUEST_OVERHEAD_BYTES;
  return Math.ceil(bytes / MEBIBYTE) * MEBIBYTE;
}

function virtualCpus(limits: ResourceLimits, accelerator: Accelerator): number {
  const most = accelerator === 'kvm' ? DEFAULT_MAX_CPUS : 1;
  const wanted = limits.cpuMillis === undefined ? most : Math.ceil(limits.cpuMillis / 1000);
  return Math.max(1, Math.min(wanted, availableParallelism()));
}

/** hosts, resolv.conf and hostname as the guest shows them. */
export async function identityFields(
  options: Pick<PreparationOptions, 'networks' | 'defaultNetwork'>,
  record: ContainerRecord,
  launch: Pick<Launch, 'hostname'>,
  address: string | undefined,
): Promise<Field[]> {
  const { hostname } = launch;
  const backend = options.networks.get(networkName(options, record.spec));
  const peers = backend?.peersOf?.(record.id) ?? [];
  const nameServer = address === USER_NETWORK.address ? USER_NETWORK.resolver : backend?.nameServer;
  const host = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  const { dns } = record.spec;
  return [
    ['hosts', hostsText({ hostname, name: record.name, address, hosts: record.hosts ?? {}, peers })],
    ['resolv.conf', resolvText(host, { nameServer, dns, sharesHostNetwork: false })],
    ['hostname', `${hostname}\n`],
  ];
}

function addressFields(guest: GuestAddress | undefined): Field[] {
  if (guest === undefined) return [];
  return [
    ['address', guest.address],
    ['netmask', guest.netmask],
    ...(guest.gateway === undefined ? [] : [['gateway', guest.gateway] as const]),
  ];
}

async function sendSecrets(agent: AgentConnection, directory: string, launch: Launch): Promise<void> {
  for (const { name, mode } of launch.secrets) {
    await agent.request('file', [
      ['name', `secret-${name}`],
      ['content', await readSecret(directory, name)],
      ['mode', mode],
      ['user', launch.user],
    ]);
  }
}

function startError(record: ContainerRecord, launch: Launch, cause: unknown): unknown {
  if (!(cause instanceof ContainerError) || typeof cause.details?.why !== 'string') return cause;
  const { why } = cause.details;
  return new ContainerError('RUNTIME_FAILED', `cannot start container "${record.name}": ${why}`, {
    cause,
    ...(/not found|No such file/.test(why)
      ? { hint: `${launch.command[0]} is not in the image; check "command" and "entrypoint"` }
      : {}),
  });
}

/** Where the files of a container's machine lie. */
export function machineDirectory(home: string, id: string): string {
  return join(home, 'containers', id);
}
