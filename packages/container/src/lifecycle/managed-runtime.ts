// The lifecycle of containers: names, states, locks, events, waiting, recovery. How a process runs is a driver's matter.

import type {
  ArchiveStream,
  AttachOptions,
  AttachSession,
  Clock,
  CommitOptions,
  ContainerEvent,
  ContainerFilter,
  ContainerId,
  ContainerInfo,
  ContainerProcess,
  ContainerRuntime,
  ContainerSpec,
  ContainerStats,
  CopyInOptions,
  ExecOptions,
  ExecSession,
  ExitStatus,
  FileChange,
  FileStat,
  LogLine,
  LogOptions,
  Random,
  RemoveOptions,
  ResourceLimits,
  RuntimeProbe,
  TerminalSize,
} from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { isAlive } from '../system/processes.ts';
import { type ContainerDirectory, type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import { readLog } from './log-reader.ts';
import { notSupported } from './not-supported.ts';
import { type ContainerRecord, publicState, toInfo, withoutSecrets } from './record.ts';
import { signalNumber } from './signals.ts';
import { requireSupported } from './spec-support.ts';
import { requireNextState, requireState } from './state-machine.ts';
import { type OpenedHome, Supervisor } from './supervisor.ts';
import { validateHosts, validateLimits, validateName, validateSpec } from './validate-spec.ts';

/** Where a runtime keeps its containers, and the ports of the world. */
export interface ManagedRuntimeOptions {
  readonly home: string;
  readonly clock: Clock;
  readonly random: Random;
}

// Far between: the timer has nothing to do but to keep the process alive while somebody waits.
const KEEP_ALIVE_MS = 60_000;

/** What is said of a driver's optional verbs. */
const DOING = {
  attach: 'attach to',
  resize: 'resize the terminal of',
  top: 'list the processes of',
  statPath: 'look into',
  copyOut: 'copy out of',
  copyIn: 'copy into',
  diff: 'list the changes of',
  exportRootfs: 'export',
  commit: 'make an image of',
} as const;
type Ability = keyof typeof DOING;

/** {@link ContainerRuntime} over a {@link RuntimeDriver}. `OciRuntime` and `ProcessRuntime` are this with their driver. */
export class ManagedRuntime implements ContainerRuntime {
  readonly name: string;
  private readonly driver: RuntimeDriver;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly supervisor: Supervisor;
  private readonly containers: ContainerDirectory;

  protected constructor(driver: RuntimeDriver, options: ManagedRuntimeOptions, home: OpenedHome) {
    this.name = driver.name;
    this.driver = driver;
    this.clock = options.clock;
    this.random = options.random;
    this.supervisor = new Supervisor(driver, options.clock, home);
    this.containers = home.containers;
  }

  /** {@inheritDoc ContainerRuntime.probe} */
  probe(): Promise<RuntimeProbe> {
    return this.driver.probe();
  }

  async create(spec: ContainerSpec): Promise<ContainerId> {
    this.requireOpen();
    validateSpec(spec);
    requireSupported(this.name, this.driver.capabilities, spec);
    const id = Buffer.from(this.random.bytes(32)).toString('hex');
    const record: ContainerRecord = {
      version: 1,
      id,
      name: spec.name,
      spec: withoutSecrets(spec),
      state: 'creating',
      stopSignal: spec.stopSignal ?? 'SIGTERM',
      limits: spec.limits ?? {},
      hosts: spec.hosts ?? {},
      bootId: this.supervisor.bootId,
      createdAt: this.clock.now(),
    };
    const entry = await this.containers.add(record);
    return await entry.mutex.run(async () => {
      try {
        const prepared = await this.driver.prepare(record, spec);
        Object.assign(record, prepared);
        record.state = 'created';
        await Promise.all([this.containers.save(record), this.containers.sync()]);
      } catch (error) {
        // What cannot be freed now stays known as a removal to finish; the reason to report is the first one.
        await this.supervisor.discard(entry).catch(() => undefined);
        throw error;
      }
      await this.supervisor.emit(record, 'create');
      return id;
    });
  }

  async start(id: ContainerId): Promise<void> {
    const { record } = this.find(id);
    await this.exclusive(id, async (entry) => {
      this.require(record, 'start');
      if (record.state === 'stopped') await this.supervisor.revive(entry);
      record.process = await this.driver.start(record);
      record.state = 'running';
      record.startedAt = this.clock.now();
      // After a power cut a started container and a created one come to the same: neither runs. So nothing to sync for.
      await this.containers.save(record, { durable: false });
      await this.supervisor.emit(record, 'start');
    });
    // A process that was quicker than our bookkeeping has ended by now.
    if (record.process !== undefined && !isAlive(record.process)) this.supervisor.noticeExit(record.id);
  }

  async stop(id: ContainerId, options: { graceMs: number; signal?: AbortSignal }): Promise<void> {
    const entry = this.find(id);
    const { record } = entry;
    const proceed = await this.exclusive(id, async () => {
      this.require(record, 'stop');
      if (record.state === 'stopped') return false;
      if (options.graceMs <= 0) return true;
      await this.driver.signal(record, signalNumber(record.stopSignal));
      // A frozen process cannot react: it is thawed with the signal already waiting for it.
      if (record.state === 'paused') await this.driver.resume(record);
      return true;
    });
    if (!proceed) return;
    if (options.graceMs > 0 && (await this.supervisor.endsWithin(entry, options.graceMs, options.signal)))
      return;
    await this.supervisor.killAndWait(entry);
  }

  async kill(id: ContainerId, signal: string | number, options: { all?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    await this.exclusive(id, async ({ record }) => {
      requireState(record.name, publicState(record), 'kill', ['running', 'paused']);
      await this.driver.signal(record, number, options.all ?? false);
    });
  }

  async pause(id: ContainerId): Promise<void> {
    await this.transition(id, 'pause', (record) => this.driver.pause(record));
  }

  async resume(id: ContainerId): Promise<void> {
    await this.transition(id, 'resume', (record) => this.driver.resume(record));
  }

  async update(id: ContainerId, limits: ResourceLimits): Promise<void> {
    const { record } = this.find(id);
    validateLimits(limits, `update container "${record.name}"`);
    await this.exclusive(id, async () => {
      requireState(record.name, publicState(record), 'update', ['created', 'running', 'paused']);
      const merged = { ...record.limits, ...limits };
      await this.driver.update(record, merged);
      record.limits = merged;
      await this.containers.save(record);
      await this.supervisor.emit(record, 'update');
    });
  }

  async remove(id: ContainerId, options: RemoveOptions = {}): Promise<void> {
    const entry = this.find(id);
    const transition = options.force === true ? 'remove-by-force' : 'remove';
    const { record } = entry;
    requireNextState(record.name, publicState(record), transition);
    // The end is awaited outside the lock, because recording it takes the lock.
    if (record.state === 'running' || record.state === 'paused') await this.supervisor.killAndWait(entry);
    await this.exclusive(id, async () => {
      this.require(record, transition);
      await this.supervisor.discard(entry);
      await this.supervisor.emit(record, 'remove');
    });
  }

  async exec(id: ContainerId, options: ExecOptions): Promise<ExecSession> {
    const { record } = this.find(id);
    if (options.command.length === 0) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot exec in container "${record.name}": the command is empty`,
      );
    }
    options.signal?.throwIfAborted();
    requireState(record.name, publicState(record), 'exec in', ['running']);
    return await this.driver.exec(record, options, this.random.uuid(this.clock.now()));
  }

  async rename(id: ContainerId, name: string): Promise<void> {
    validateName(name, `rename container "${this.find(id).record.name}"`);
    await this.exclusive(id, async ({ record }) => {
      const oldName = record.name;
      if (oldName === name) return;
      this.containers.rename(record, name);
      try {
        await this.containers.save(record);
      } catch (error) {
        this.containers.rename(record, oldName);
        throw error;
      }
      await this.supervisor.emit(record, 'rename', { oldName });
    });
  }

  async attach(id: ContainerId, options: AttachOptions = {}): Promise<AttachSession> {
    const { record } = this.find(id);
    const attach = this.able(record, 'attach');
    options.signal?.throwIfAborted();
    requireState(record.name, publicState(record), 'attach to', ['created', 'running', 'paused']);
    return await attach(record, options);
  }

  async resize(id: ContainerId, size: TerminalSize): Promise<void> {
    const { record } = this.find(id);
    const resize = this.able(record, 'resize');
    requireState(record.name, publicState(record), 'resize', ['created', 'running', 'paused']);
    await resize(record, size);
  }

  async *logs(id: ContainerId, options: LogOptions = {}): AsyncIterable<LogLine> {
    const entry = this.find(id);
    const hasEnded = (): boolean =>
      this.supervisor.closed || !isLive(entry.record) || this.containers.byId(entry.record.id) === undefined;
    yield* readLog(this.containers.logPath(entry.record.id), this.clock, hasEnded, options);
  }

  async wait(
    id: ContainerId,
    condition: 'not-running' | 'next-exit' | 'removed' = 'not-running',
    signal?: AbortSignal,
  ): Promise<ExitStatus> {
    const entry = this.find(id);
    const { record } = entry;
    const { exits } = entry;
    const ended = (): boolean => {
      if (entry.removed || condition === 'removed') return entry.removed;
      if (condition === 'next-exit') return entry.exits > exits;
      return record.state !== 'running' && record.state !== 'paused';
    };
    // Nothing else keeps the process alive: what ends the wait is an event of the kernel, not of our event loop.
    const keepAlive = this.clock.interval(KEEP_ALIVE_MS, () => undefined);
    try {
      while (!ended()) {
        signal?.throwIfAborted();
        this.requireOpen();
        await entry.changed(signal);
      }
    } finally {
      keepAlive.cancel();
    }
    return record.exit ?? { exitCode: 0, oomKilled: false, finishedAt: record.createdAt };
  }

  async stats(id: ContainerId): Promise<ContainerStats> {
    const { record } = this.find(id);
    requireState(record.name, publicState(record), 'measure', ['running', 'paused']);
    return await this.driver.stats(record);
  }

  async top(id: ContainerId): Promise<ContainerProcess[]> {
    const { record } = this.find(id);
    const top = this.able(record, 'top');
    requireState(record.name, publicState(record), 'list the processes of', ['running', 'paused']);
    return await top(record);
  }

  async statPath(id: ContainerId, path: string): Promise<FileStat> {
    const { record } = this.find(id);
    return await this.able(record, 'statPath')(record, path);
  }

  async copyOut(
    id: ContainerId,
    path: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<ArchiveStream> {
    const { record } = this.find(id);
    return await this.able(record, 'copyOut')(record, path, options);
  }

  async copyIn(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: CopyInOptions = {},
  ): Promise<void> {
    const { record } = this.find(id);
    await this.able(record, 'copyIn')(record, path, tar, options);
  }

  async diff(id: ContainerId): Promise<FileChange[]> {
    const { record } = this.find(id);
    return await this.able(record, 'diff')(record);
  }

  async *exportRootfs(id: ContainerId, options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const { record } = this.find(id);
    yield* this.able(record, 'exportRootfs')(record, options);
  }

  async commit(id: ContainerId, options: CommitOptions = {}): Promise<{ digest: string }> {
    const { record } = this.find(id);
    return await this.able(record, 'commit')(record, options);
  }

  async inspect(id: ContainerId): Promise<ContainerInfo> {
    return toInfo(this.find(id).record, this.driver.capabilities.isolation);
  }

  async list(filter: ContainerFilter = {}): Promise<ContainerInfo[]> {
    const wanted = Object.entries(filter.labels ?? {});
    return this.containers
      .all()
      .map(({ record }) => toInfo(record, this.driver.capabilities.isolation))
      .filter((info) => filter.states === undefined || filter.states.includes(info.state))
      .filter((info) => wanted.every(([key, value]) => info.labels[key] === value));
  }

  async *events(options: { since?: number; signal?: AbortSignal } = {}): AsyncIterable<ContainerEvent> {
    const keepAlive = this.clock.interval(KEEP_ALIVE_MS, () => undefined);
    try {
      yield* this.supervisor.events.follow(options);
    } finally {
      keepAlive.cancel();
    }
  }

  async setHosts(id: ContainerId, hosts: Readonly<Record<string, string>>): Promise<void> {
    validateHosts(hosts, `set the hosts of container "${this.find(id).record.name}"`);
    await this.exclusive(id, async ({ record }) => {
      const before = record.hosts;
      record.hosts = hosts;
      try {
        await this.driver.setHosts(record);
        await this.containers.save(record, { durable: false });
      } catch (error) {
        record.hosts = before;
        throw error;
      }
    });
  }

  async recover(): Promise<ContainerInfo[]> {
    this.requireOpen();
    await this.supervisor.recover();
    return await this.list();
  }

  /** Containers whose record cannot be read, and how many containers there are. */
  async damagedContainers(): Promise<{ damaged: ReadonlyMap<string, unknown>; total: number }> {
    return {
      damaged: this.containers.damaged,
      total: this.containers.all().length + this.containers.damaged.size,
    };
  }

  /** Moves a damaged container out of the way; returns where to. */
  async setAside(id: ContainerId): Promise<string> {
    return await this.containers.setAside(id);
  }

  /** Stops watching; the containers run on, and the next process to open this home adopts them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.supervisor[Symbol.asyncDispose]();
  }

  private async transition(
    id: ContainerId,
    kind: 'pause' | 'resume',
    act: (record: ContainerRecord) => Promise<void>,
  ): Promise<void> {
    await this.exclusive(id, async ({ record }) => {
      this.require(record, kind);
      await act(record);
      record.state = kind === 'pause' ? 'paused' : 'running';
      await this.containers.save(record, { durable: false });
      await this.supervisor.emit(record, kind);
    });
  }

  /** Runs a section while nothing else happens to the container; one removed meanwhile is not found. */
  private async exclusive<T>(id: ContainerId, section: (entry: Entry) => Promise<T>): Promise<T> {
    const entry = this.find(id);
    return await entry.mutex.run(async () => {
      if (entry.removed) throw this.notFound(id);
      return await section(entry);
    });
  }

  /** An ability that not every driver has. */
  private able<Verb extends Ability>(record: ContainerRecord, verb: Verb): NonNullable<RuntimeDriver[Verb]> {
    const ability = this.driver[verb];
    if (ability === undefined) throw notSupported(this.name, `${DOING[verb]} container "${record.name}"`);
    // The binding keeps the method's own type, which `bind` on a union of methods loses.
    return ability.bind(this.driver) as NonNullable<RuntimeDriver[Verb]>;
  }

  private require(record: ContainerRecord, transition: Parameters<typeof requireNextState>[2]): void {
    requireNextState(record.name, publicState(record), transition);
  }

  private find(id: ContainerId): Entry {
    this.requireOpen();
    const entry = this.containers.find(id);
    if (entry === undefined) throw this.notFound(id);
    return entry;
  }

  private notFound(id: string): ContainerError {
    return new ContainerError('CONTAINER_NOT_FOUND', `there is no container "${id}"`, {
      hint: 'list() shows the containers of this runtime; an id may be shortened to 12 digits',
      details: { id },
    });
  }

  private requireOpen(): void {
    if (this.supervisor.closed)
      throw new ContainerError('RUNTIME_UNAVAILABLE', `the ${this.name} runtime is closed`);
  }
}
