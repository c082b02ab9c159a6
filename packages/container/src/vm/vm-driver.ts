// The driver of VmRuntime: each container is a QEMU machine with a kernel of its own.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  Clock,
  ContainerId,
  ContainerProcess,
  ContainerSpec,
  ContainerStats,
  ExecOptions,
  ExecSession,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Observation, PreparedContainer, RuntimeDriver } from '../lifecycle/driver.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { deleteAbandonedTemporaries, readTextIfAny } from '../system/files.ts';
import { isAlive, type ProcessIdentity } from '../system/processes.ts';
import type { AgentConnection } from './agent-connection.ts';
import { guestProcesses, guestStats, hostFigures, pausedStats } from './figures.ts';
import type { Field } from './frames.ts';
import { limitFields, readLaunch } from './launch.ts';
import { MachineLogs } from './logs.ts';
import { GUEST_FILES } from './machine.ts';
import { Machines } from './machines.ts';
import { pinCpus } from './pinning.ts';
import { type PlatformFinder, platformDirectory } from './platform.ts';
import {
  type PreparationOptions,
  prepareMachine,
  requireLimits,
  reviveMachine,
  unprepareMachine,
} from './prepare.ts';
import { withQmp } from './qmp.ts';
import { stopShares } from './shares.ts';
import { identityFields, MachineStarter, machineMemory } from './start.ts';
import { sizeText, vmExec } from './vm-exec.ts';

/** What the driver works with. */
export interface VmDriverOptions extends PreparationOptions {
  readonly home: string;
  readonly clock: Clock;
  readonly platform: PlatformFinder;
  /** Memory of a program without a limit. */
  readonly memoryBytes: number;
}

// The agent answers a signal at once; one that does not within this is in a guest that hangs, and is cut off.
const KILL_ANSWER_MS = 5_000;
const SIGKILL = 9;

/** See {@link RuntimeDriver}. */
export class VmDriver implements RuntimeDriver {
  readonly name = 'vm';
  readonly machines: Machines;
  private readonly options: VmDriverOptions;
  private readonly starter: MachineStarter;
  private readonly logs: MachineLogs;
  /** Disks that new machines take over, by the very spec that asks for it. */
  private readonly disks = new WeakMap<ContainerSpec, string>();

  constructor(options: VmDriverOptions) {
    const { clock } = options;
    this.options = options;
    this.machines = new Machines(clock);
    this.starter = new MachineStarter({ ...options, machines: this.machines });
    this.logs = new MachineLogs(clock, options.directoryOf);
  }

  get capabilities(): RuntimeCapabilities {
    return {
      isolation: 'vm',
      pause: true,
      exec: true,
      limits: true,
      networks: this.options.networks.size > 0,
      images: true,
      attach: false,
      stdin: false,
      tty: true,
      update: true,
      mounts: true,
      copy: false,
      diff: false,
      commit: false,
      top: true,
      devices: false,
      userNamespaces: false,
      init: false,
    };
  }

  async probe(): Promise<RuntimeProbe> {
    const { capabilities } = this;
    try {
      const { processor, accelerator, emulator, guestKernel, reasons } =
        await this.options.platform.virtualization();
      const missing = await Promise.all(
        [...this.options.networks.values()].map((network) => network.probe()),
      );
      return {
        ok: true,
        version: `${emulator} with ${processor} virtualisation (${accelerator}) and paravirtualised devices (virtio), guest kernel ${guestKernel}`,
        capabilities,
        reasons: [...reasons, ...missing.flat()],
      };
    } catch (error) {
      return { ok: false, capabilities, reasons: [errorMessage(error)] };
    }
  }

  async missing(): Promise<readonly string[]> {
    return await this.options.platform.platform().then(
      () => [],
      (error: unknown) => [errorMessage(error)],
    );
  }

  /** The machine of `spec`, once it is created, starts with this disk. */
  takeOver(spec: ContainerSpec, disk: string): void {
    this.disks.set(spec, disk);
  }

  prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    return prepareMachine(this.options, record, spec, this.disks.get(spec));
  }

  revive(record: ContainerRecord): Promise<PreparedContainer> {
    return reviveMachine(this.options, record);
  }

  async start(record: ContainerRecord): Promise<ProcessIdentity> {
    try {
      const machine = await this.starter.start(record);
      await this.logs.collect(record);
      return machine;
    } catch (error) {
      await this.machines.end(record.id, this.directory(record), 0);
      await stopShares(this.directory(record), this.options.clock);
      throw error;
    }
  }

  async signal(record: ContainerRecord, signal: number, all = false): Promise<void> {
    const machine = record.process;
    if (machine === undefined || !isAlive(machine)) return;
    const fields: Field[] = [['number', signal], ...(all ? [['all', 1] as const] : [])];
    try {
      const agent = await this.agent(record);
      // A guest that stands still answers when it is resumed; the order waits for it in the line.
      if (record.state === 'paused') agent.tell('signal', fields);
      else await agent.request('signal', fields, { timeoutMs: KILL_ANSWER_MS });
    } catch (error) {
      if (!isAlive(machine)) return;
      if (signal !== SIGKILL) throw error;
      await this.machines.cutOff(this.directory(record), machine);
    }
  }

  async pause(record: ContainerRecord): Promise<void> {
    await withQmp(this.directory(record), this.options.clock, (qmp) => qmp.call('stop'));
  }

  async resume(record: ContainerRecord): Promise<void> {
    await withQmp(this.directory(record), this.options.clock, (qmp) => qmp.call('cont'));
  }

  async update(record: ContainerRecord, limits: ResourceLimits): Promise<void> {
    requireLimits(record.name, limits);
    const facts =
      record.process === undefined ? undefined : await this.machines.facts(this.directory(record));
    // One that does not run is booted with its new limits.
    if (facts === undefined || !isAlive(facts)) return;
    const wanted = machineMemory(limits, this.options.memoryBytes);
    if (wanted > facts.memoryBytes || (limits.cpuMillis ?? 0) > facts.cpus * 1000) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot update container "${record.name}": its machine was booted with ${facts.cpus} CPUs and ${facts.memoryBytes} bytes of memory, and a running machine does not grow beyond that`,
        { hint: 'stop it and start it again with the larger limits', details: { driver: 'oci' } },
      );
    }
    const { clock } = this.options;
    const directory = this.directory(record);
    if (limits.cpuset !== undefined) await pinCpus(directory, limits.cpuset, clock);
    await (await this.agent(record)).request('limits', limitFields(limits));
    // The balloon gives the host back what the program may not use any more.
    await withQmp(directory, clock, (qmp) => qmp.call('balloon', { value: wanted }));
  }

  async exec(record: ContainerRecord, options: ExecOptions, id: string): Promise<ExecSession> {
    const launch = await readLaunch(this.directory(record));
    return await vmExec(await this.agent(record), this.options.clock, launch, options, id);
  }

  async stats(record: ContainerRecord): Promise<ContainerStats> {
    const at = this.options.clock.now();
    if (record.state === 'paused') return pausedStats(await hostFigures(record.process?.pid ?? 0), at);
    return guestStats(await (await this.agent(record)).request('stats'), at);
  }

  async resize(record: ContainerRecord, size: TerminalSize): Promise<void> {
    await (await this.agent(record)).request('resize', [
      ['channel', 0],
      ['size', sizeText(size)],
    ]);
  }

  async top(record: ContainerRecord): Promise<ContainerProcess[]> {
    return guestProcesses(await (await this.agent(record)).request('top'), this.options.clock.now());
  }

  async setHosts(record: ContainerRecord): Promise<void> {
    if (!this.capabilities.networks) throw notSupported('vm', `set hosts of container "${record.name}"`);
    if (record.process === undefined) return;
    const launch = await readLaunch(this.directory(record));
    await (await this.agent(record)).request(
      'identity',
      await identityFields(this.options, record, launch, record.address),
    );
  }

  async observe(record: ContainerRecord): Promise<Observation> {
    const path = join(this.directory(record), GUEST_FILES.status);
    const [, code, oom] = /^exit (\d+) ([01])$/m.exec((await readTextIfAny(path)) ?? '') ?? [];
    if (code === undefined) return { alive: true };
    return {
      alive: false,
      exitCode: Number(code),
      oomKilled: oom === '1',
      finishedAt: Math.round((await stat(path)).mtimeMs),
    };
  }

  async release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    const directory = this.directory(record);
    await this.machines.end(record.id, directory);
    await stopShares(directory, this.options.clock);
    await this.logs.finish(record);
    await unprepareMachine(this.options, record, because);
  }

  async tend(record: ContainerRecord): Promise<void> {
    await this.logs.collect(record);
    await this.machines.boundConsole(this.directory(record));
    // The line is how the end of a machine is noticed at once; after our own restart there is none yet.
    if (!this.machines.isConnected(record.id)) await this.agent(record);
  }

  async sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    const freed: string[] = [];
    for (const network of this.options.networks.values()) freed.push(...(await network.reconcile(known)));
    await deleteAbandonedTemporaries(platformDirectory(this.options.home));
    return [...freed, ...(await this.options.bases.sweep())];
  }

  watchExits(listener: (id: ContainerId) => void): AsyncDisposable {
    const stop = this.machines.onEnd(listener);
    const { logs, machines } = this;
    return {
      async [Symbol.asyncDispose]() {
        stop();
        logs.close();
        await machines.close();
      },
    };
  }

  /** The line to the agent of a running machine. Throws `RUNTIME_FAILED` when there is none. */
  async agent(record: ContainerRecord): Promise<AgentConnection> {
    if (record.process === undefined) {
      throw new ContainerError('RUNTIME_FAILED', `the machine of container "${record.name}" does not run`);
    }
    return await this.machines.agent(record.id, this.directory(record), record.process);
  }

  /** Where the files of a machine lie. */
  directory(record: Pick<ContainerRecord, 'id'>): string {
    return this.options.directoryOf(record.id);
  }
}
