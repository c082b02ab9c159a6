// The driver of OciRuntime: containers by an OCI runtime under conmon.

import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  ArchiveStream,
  CommitOptions,
  ContainerId,
  ContainerProcess,
  ContainerSpec,
  ContainerStats,
  CopyInOptions,
  ExecOptions,
  ExecSession,
  FileChange,
  FileStat,
  ResourceLimits,
  RuntimeCapabilities,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { InputChannel } from '../lifecycle/attach.ts';
import type { Observation, PreparedContainer, RuntimeDriver } from '../lifecycle/driver.ts';
import { notSupported } from '../lifecycle/not-supported.ts';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { logBounds, rotateLog } from '../lifecycle/rotate-log.ts';
import { ensureDirectory, readTextIfAny } from '../system/files.ts';
import { describeProcesses } from '../system/process-table.ts';
import { identify, type ProcessIdentity, signalProcess } from '../system/processes.ts';
import { Assembler } from './assemble.ts';
import { type AssemblyOptions, CGROUP_PARENT } from './bundle.ts';
import { type CgroupLayout, cgroupDirectory, cgroupPids, containerCgroup, namespacePids } from './cgroup.ts';
import { oomKills, parseNetworkUsage, readUsage } from './cgroup-stats.ts';
import { reopenLog } from './conmon.ts';
import { ociExec } from './exec.ts';
import { ContainerFiles } from './files/container-files.ts';
import { findHelpers, type Helpers } from './helpers.ts';
import { Inputs } from './input.ts';
import { requireIoWeight, writeThrottles } from './io-limits.ts';
import { whyNoUserNamespaces } from './mapped-root.ts';
import { containerPaths } from './paths.ts';
import type { OciProbe } from './probe.ts';
import { Releaser } from './release.ts';
import { limitResources, resolveThrottles } from './resources.ts';
import { RuntimeCommand } from './runtime-command.ts';
import { resizeTerminal } from './terminal.ts';

/** What the driver works with. */
export interface OciDriverOptions extends Omit<AssemblyOptions, 'layout' | 'runtime' | 'init'> {
  /** A probe that found a runtime. */
  readonly probe: OciProbe & { readonly runtime: string; readonly layout: CgroupLayout };
}

const CAPABILITIES: RuntimeCapabilities = {
  isolation: 'container',
  pause: true,
  exec: true,
  limits: true,
  networks: true,
  images: true,
  attach: true,
  stdin: false,
  tty: false,
  update: true,
  mounts: true,
  copy: true,
  diff: true,
  commit: true,
  top: true,
  devices: true,
  userNamespaces: false,
  init: false,
};

// Each try is a second of runc's own; after this many the machine is not busy but stuck.
const MAX_FREEZE_TRIES = 5;
const FREEZE_RETRY_MS = 50;

/** See {@link RuntimeDriver}. */
export class OciDriver implements RuntimeDriver {
  readonly name = 'oci';
  readonly capabilities: RuntimeCapabilities;
  private readonly helpers: Helpers;
  private readonly found: OciProbe;
  private readonly options: AssemblyOptions;
  private readonly assembler: Assembler;
  private readonly releaser: Releaser;
  private readonly inputs = new Inputs();
  private readonly files: ContainerFiles;
  private readonly exits: string;

  private constructor({ probe, ...options }: OciDriverOptions, helpers: Helpers) {
    this.helpers = helpers;
    this.capabilities = {
      ...CAPABILITIES,
      stdin: helpers.relays,
      tty: helpers.relays,
      init: helpers.init !== undefined,
      userNamespaces: whyNoUserNamespaces(helpers.relays) === undefined,
      ...(probe.layout.denied === true
        ? { limits: false, pause: false, update: false, devices: false, userNamespaces: false }
        : {}),
    };
    this.found = probe;
    this.options = {
      ...options,
      init: helpers.init,
      layout: probe.layout,
      runtime: new RuntimeCommand(probe.runtime, options.home, options.clock),
    };
    this.assembler = new Assembler(this.options);
    this.releaser = new Releaser(this.options);
    this.files = new ContainerFiles(options.home, options.images, options.volumes);
    this.exits = join(options.home, 'exits');
  }

  /** Makes the driver's directories. */
  static async open(options: OciDriverOptions): Promise<OciDriver> {
    const driver = new OciDriver(options, await findHelpers());
    await ensureDirectory(driver.exits);
    await ensureDirectory(driver.options.runtime.state);
    return driver;
  }

  async probe(): Promise<RuntimeProbe> {
    const { ok, runtime, version, conmonVersion } = this.found;
    const noUserNamespaces =
      this.options.layout.denied === true ? undefined : whyNoUserNamespaces(this.helpers.relays);
    const missing = await Promise.all([...this.options.networks.values()].map((network) => network.probe()));
    return {
      ok,
      version: `${runtime} ${version}, conmon ${conmonVersion}`,
      capabilities: this.capabilities,
      reasons: [
        ...this.found.reasons,
        ...this.helpers.reasons,
        ...(noUserNamespaces === undefined ? [] : [noUserNamespaces]),
        ...missing.flat(),
      ],
    };
  }

  prepare(record: ContainerRecord, spec: ContainerSpec): Promise<PreparedContainer> {
    return this.assembler.prepare(record, spec);
  }

  revive(record: ContainerRecord): Promise<PreparedContainer> {
    return this.assembler.revive(record);
  }

  async start(record: ContainerRecord): Promise<ProcessIdentity> {
    const { process } = record;
    if (process === undefined) {
      throw new ContainerError('RUNTIME_FAILED', `cannot start container "${record.name}": it has no init`);
    }
    await this.options.runtime.start(record);
    return process;
  }

  async signal(record: ContainerRecord, signal: number, all = false): Promise<void> {
    // False means it has just ended, which is noticed by itself.
    if (!all) {
      if (record.process !== undefined) signalProcess(record.process, signal);
      return;
    }
    for (const pid of await this.pids(record)) {
      const target = identify(pid);
      if (target !== undefined) signalProcess(target, signal);
    }
  }

  private async pids(record: ContainerRecord): Promise<number[]> {
    if (this.options.layout.denied === true) return await namespacePids(record.process?.pid ?? 0);
    const path = containerCgroup(CGROUP_PARENT, record.id);
    return await cgroupPids(cgroupDirectory(this.options.layout, 'pids', path));
  }

  private requireCgroups(record: ContainerRecord, doing: string): void {
    if (this.options.layout.denied === true)
      throw notSupported(this.name, `${doing} container "${record.name}"`);
  }

  async pause(record: ContainerRecord): Promise<void> {
    this.requireCgroups(record, 'pause');
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.options.runtime.call(record, 'pause', []);
        return;
      } catch (error) {
        // On cgroup v1 a busy machine can keep the kernel from freezing all tasks in the time that runc allows.
        if (attempt >= MAX_FREEZE_TRIES || !errorMessage(error).includes('unable to freeze')) throw error;
        await this.options.clock.sleep(FREEZE_RETRY_MS);
      }
    }
  }

  async resume(record: ContainerRecord): Promise<void> {
    await this.options.runtime.call(record, 'resume', []);
  }

  async update(record: ContainerRecord, limits: ResourceLimits): Promise<void> {
    this.requireCgroups(record, 'update');
    const { layout, runtime } = this.options;
    if (limits.ioWeight !== undefined) await requireIoWeight(layout, CGROUP_PARENT);
    const throttles = await resolveThrottles(limits.ioThrottles ?? [], `update container "${record.name}"`);
    const input = JSON.stringify(limitResources(limits, [], layout.version));
    await runtime.call(record, 'update', ['--resources', '-'], { input });
    // The runtimes' own update knows no throttles.
    await writeThrottles(layout, containerCgroup(CGROUP_PARENT, record.id), throttles);
  }

  async exec(record: ContainerRecord, options: ExecOptions, id: string): Promise<ExecSession> {
    const { rootfs, bundle } = containerPaths(this.options.home, record.id);
    const { runtime, layout, clock } = this.options;
    const place = { rootfs, bundle, layout, cgroupsPath: containerCgroup(CGROUP_PARENT, record.id) };
    return await ociExec({ ...place, runtime, clock }, record, options, id);
  }

  async stats(record: ContainerRecord): Promise<ContainerStats> {
    this.requireCgroups(record, 'measure');
    const [usage, network] = await Promise.all([
      readUsage(this.options.layout, containerCgroup(CGROUP_PARENT, record.id)),
      readTextIfAny(`/proc/${record.process?.pid}/net/dev`),
    ]);
    const { received, sent } = parseNetworkUsage(network ?? '');
    return { at: this.options.clock.now(), ...usage, networkReceivedBytes: received, networkSentBytes: sent };
  }

  async top(record: ContainerRecord): Promise<ContainerProcess[]> {
    return await describeProcesses(await this.pids(record), record.process?.pid);
  }

  statPath(record: ContainerRecord, path: string): Promise<FileStat> {
    return this.files.stat(record, path);
  }

  copyOut(record: ContainerRecord, path: string, options: { signal?: AbortSignal }): Promise<ArchiveStream> {
    return this.files.copyOut(record, path, options);
  }

  copyIn(
    record: ContainerRecord,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions,
  ): Promise<void> {
    return this.files.copyIn(record, path, tar, options);
  }

  diff(record: ContainerRecord): Promise<FileChange[]> {
    return this.files.diff(record);
  }

  exportRootfs(
    record: ContainerRecord,
    options: { signal?: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>> {
    return this.files.exportRootfs(record, options);
  }

  commit(record: ContainerRecord, options: CommitOptions): Promise<{ digest: string }> {
    return this.files.commit(record, options);
  }

  async input(record: ContainerRecord): Promise<InputChannel> {
    return await this.inputs.open(record, containerPaths(this.options.home, record.id));
  }

  async resize(record: ContainerRecord, size: TerminalSize): Promise<void> {
    await resizeTerminal(containerPaths(this.options.home, record.id).bundle, size);
  }

  async setHosts(record: ContainerRecord): Promise<void> {
    await this.assembler.writeHosts(record, record.address);
  }

  async observe(record: ContainerRecord): Promise<Observation> {
    const { persist, bundle } = containerPaths(this.options.home, record.id);
    const path = join(persist, 'exit');
    const text = (await readTextIfAny(path))?.trim() ?? '';
    const exitCode = Number(text);
    if (text === '' || !Number.isInteger(exitCode)) return { alive: true };
    // conmon marks what it was told by the kernel; the cgroup, which is still there, knows what conmon missed.
    const marks = await Promise.all(
      [join(persist, 'oom'), join(bundle, 'oom')].map((file) => stat(file).catch(() => undefined)),
    );
    const counted = await oomKills(this.options.layout, containerCgroup(CGROUP_PARENT, record.id));
    const oomKilled = counted > 0 || marks.some((mark) => mark !== undefined);
    return { alive: false, exitCode, oomKilled, finishedAt: Math.round((await stat(path)).mtimeMs) };
  }

  release(record: ContainerRecord, because: 'stopped' | 'removed'): Promise<void> {
    return this.releaser.release(record, because);
  }

  async tend(record: ContainerRecord): Promise<void> {
    const { log, bundle } = containerPaths(this.options.home, record.id);
    if (await rotateLog(log, logBounds(record.spec))) await reopenLog(bundle);
  }

  sweep(known: ReadonlySet<ContainerId>): Promise<string[]> {
    return this.releaser.sweep(known);
  }

  watchExits(listener: (id: ContainerId) => void): AsyncDisposable {
    const watcher: FSWatcher = watch(this.exits, { persistent: false }, (_event, name) => {
      if (name !== null && /^[0-9a-f]{64}$/.test(name)) listener(name);
    });
    // The poll of the lifecycle finds exits too, so a watch that breaks only costs a second.
    watcher.on('error', () => watcher.close());
    return {
      async [Symbol.asyncDispose]() {
        watcher.close();
      },
    };
  }
}
