// The lifecycle of containers: names, states, locks, events, waiting, recovery. How a process runs is a driver's matter.

import type {
  Clock,
  ContainerEvent,
  ContainerFilter,
  ContainerId,
  ContainerInfo,
  ContainerRuntime,
  ContainerSpec,
  ContainerStats,
  ExecOptions,
  ExecSession,
  ExitStatus,
  LogLine,
  LogOptions,
  Random,
  RemoveOptions,
  ResourceLimits,
  RuntimeProbe,
} from '@heptad/core';
import { isAlive } from '../system/processes.ts';
import { isLive } from './container-directory.ts';
import { DrivenVerbs } from './driven-verbs.ts';
import type { RuntimeDriver } from './driver.ts';
import type { OpenedHome } from './home.ts';
import { readLog } from './log-reader.ts';
import { notSupported } from './not-supported.ts';
import { type ContainerRecord, ownVolumes, publicState, withoutSecrets } from './record.ts';
import { signalNumber } from './signals.ts';
import { requireSupported } from './spec-support.ts';
import { requireNextState, requireState } from './state-machine.ts';
import { Supervisor } from './supervisor.ts';
import { validateExec } from './validate-exec.ts';
import { validateHosts, validateLimits, validateName, validateSpec } from './validate-spec.ts';

/** Where a runtime keeps its containers, and the ports of the world. */
export interface ManagedRuntimeOptions {
  readonly home: string;
  readonly clock: Clock;
  readonly random: Random;
}

// Far between: the timer has nothing to do but to keep the process alive while somebody waits.
const KEEP_ALIVE_MS = 60_000;
const SIGKILL = 9;

/** {@link ContainerRuntime} over a {@link RuntimeDriver}. `OciRuntime` and `ProcessRuntime` are this with their driver. */
export class ManagedRuntime extends DrivenVerbs implements ContainerRuntime {
  private readonly random: Random;

  protected constructor(driver: RuntimeDriver, options: ManagedRuntimeOptions, home: OpenedHome) {
    super(driver, new Supervisor(driver, options, home), options.clock);
    this.random = options.random;
  }

  /** {@inheritDoc ContainerRuntime.probe} */
  probe(): Promise<RuntimeProbe> {
    return this.driver.probe();
  }

  async create(spec: ContainerSpec): Promise<ContainerId> {
    this.requireOpen();
    validateSpec(spec);
    requireSupported(this.driverOf(spec), spec);
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
        if (spec.healthCheck !== undefined)
          record.healthCheck = spec.healthCheck === 'none' ? undefined : spec.healthCheck;
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
      Object.assign(record, { stoppedByHand: false, restartCount: 0, restartStreak: 0 });
      await this.supervisor.start(entry);
    });
    // A process that was quicker than our bookkeeping has ended by now.
    if (record.process !== undefined && !isAlive(record.process)) this.supervisor.noticeExit(record.id);
  }

  async stop(id: ContainerId, options: { graceMs: number; signal?: AbortSignal }): Promise<void> {
    const entry = this.find(id);
    await this.supervisor.end(entry, 'stop', options.graceMs, options.signal);
  }

  async kill(id: ContainerId, signal: string | number, options: { all?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    await this.exclusive(id, async (entry) => {
      const { record } = entry;
      requireState(record.name, publicState(record), 'kill', ['running', 'paused']);
      // Meant to end it for good, as in Docker; other signals are messages.
      const ends = number === SIGKILL || number === signalNumber(record.stopSignal);
      if (ends) await this.supervisor.note(entry, 'kill');
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
      const merged = { ...record.limits, ...limits };
      if (!this.driverOf(record.spec).capabilities.update)
        throw notSupported(this.name, `change limits of container "${record.name}"`);
      // One that has ended gets them with its next start.
      if (isLive(record)) await this.driver.update(record, merged);
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
      // In the record, so that a removal that is cut short is finished as it was meant.
      if (options.volumes === true)
        record.unwantedVolumes = ownVolumes(
          record,
          this.containers.all().map((other) => other.record),
        );
      await this.supervisor.discard(entry);
      await this.supervisor.emit(record, 'remove');
    });
  }

  async exec(id: ContainerId, options: ExecOptions): Promise<ExecSession> {
    const { record } = this.find(id);
    validateExec(options, `exec in container "${record.name}"`);
    if (options.tty !== undefined && options.tty !== false && !this.driver.capabilities.tty)
      throw notSupported(this.name, `exec with a terminal in container "${record.name}"`);
    options.signal?.throwIfAborted();
    requireState(record.name, publicState(record), 'exec in', ['running']);
    const execId = this.random.uuid(this.clock.now());
    const session = await this.driver.exec(record, options, execId);
    const told = { id: execId, command: options.command };
    await this.supervisor.emit(record, 'exec_start', { exec: told });
    const ended = (exitCode?: number): Promise<void> =>
      this.supervisor.emit(record, 'exec_die', {
        exec: { ...told, ...(exitCode === undefined ? {} : { exitCode }) },
      });
    // One killed for its time, or that could not be run, has no exit code.
    session.exit.then(ended, () => ended()).catch(() => undefined);
    return session;
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

  async *logs(id: ContainerId, options: LogOptions = {}): AsyncIterable<LogLine> {
    const entry = this.find(id);
    yield* readLog(this.containers.logPath(entry.record.id), this.clock, () => this.hasEnded(entry), options);
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

  async inspect(id: ContainerId): Promise<ContainerInfo> {
    return this.infoOf(this.find(id).record);
  }

  async list(filter: ContainerFilter = {}): Promise<ContainerInfo[]> {
    const wanted = Object.entries(filter.labels ?? {});
    return this.containers
      .all()
      .map(({ record }) => this.infoOf(record))
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
}
