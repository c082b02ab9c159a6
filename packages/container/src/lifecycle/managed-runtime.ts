// The lifecycle of containers: names, states, locks, events, waiting, recovery. How a process runs is a driver's matter.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
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
  ResourceLimits,
  RuntimeProbe,
  Timer,
} from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import { type HomeLock, lockHome } from '../system/home-lock.ts';
import { currentBootId, isAlive } from '../system/processes.ts';
import { ContainerDirectory, type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import { EventLog } from './event-log.ts';
import { readLog } from './log-reader.ts';
import { type ContainerRecord, publicState, toInfo, withoutSecrets } from './record.ts';
import { signalNumber } from './signals.ts';
import { requireNextState } from './state-machine.ts';
import { validateHosts, validateLimits, validateSpec } from './validate-spec.ts';

/** Where a runtime keeps its containers, and the ports of the world. */
export interface ManagedRuntimeOptions {
  readonly home: string;
  readonly clock: Clock;
  readonly random: Random;
}

// Deaths are told by the kernel through a watched directory; the poll finds what such a hint missed.
const TEND_INTERVAL_MS = 1_000;
// Far between: the timer itself has nothing to do.
const KEEP_ALIVE_MS = 60_000;
// After SIGKILL the kernel frees a process within milliseconds, unless it is stuck in a device.
const KILL_DEADLINE_MS = 10_000;
// The shim reports an exit code a moment after the process is gone; later than this it will not.
const EXIT_REPORT_GRACE_MS = 3_000;
/** The exit code of a container whose end nobody saw (reboot, killed shim), as in Docker. */
const UNKNOWN_EXIT_CODE = 255;

/** {@link ContainerRuntime} over a {@link RuntimeDriver}. `OciRuntime` and `ProcessRuntime` are this with their driver. */
export class ManagedRuntime implements ContainerRuntime {
  readonly name: string;
  protected readonly driver: RuntimeDriver;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly lock: HomeLock;
  private readonly containers: ContainerDirectory;
  private readonly log: EventLog;
  private readonly bootId: string;
  private readonly ticker: Timer;
  private readonly exitWatch: AsyncDisposable;
  private closed = false;

  protected constructor(driver: RuntimeDriver, options: ManagedRuntimeOptions, opened: OpenedHome) {
    this.name = driver.name;
    this.driver = driver;
    this.clock = options.clock;
    this.random = options.random;
    this.lock = opened.lock;
    this.containers = opened.containers;
    this.log = opened.log;
    this.bootId = opened.bootId;
    this.ticker = this.clock.interval(TEND_INTERVAL_MS, () => this.tendAll(), { unref: true });
    this.exitWatch = driver.watchExits((id) => this.noticeExit(id));
  }

  /** Locks the home directory and reads the containers in it. */
  protected static async openHome(options: ManagedRuntimeOptions): Promise<OpenedHome> {
    await ensureDirectory(options.home);
    const lock = await lockHome(options.home);
    try {
      const containers = await ContainerDirectory.open(join(options.home, 'containers'));
      const log = await EventLog.open(join(options.home, 'events.jsonl'));
      return { lock, containers, log, bootId: await currentBootId() };
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** {@inheritDoc ContainerRuntime.probe} */
  probe(): Promise<RuntimeProbe> {
    return this.driver.probe();
  }

  async create(spec: ContainerSpec): Promise<ContainerId> {
    this.requireOpen();
    validateSpec(spec);
    const id = Buffer.from(this.random.bytes(32)).toString('hex');
    const record: ContainerRecord = {
      version: 1,
      id,
      name: spec.name,
      spec: withoutSecrets(spec),
      state: 'creating',
      stopSignal: spec.stopSignal ?? 'SIGTERM',
      limits: spec.limits ?? {},
      bootId: this.bootId,
      createdAt: this.clock.now(),
    };
    const entry = await this.containers.add(record);
    return await entry.mutex.run(async () => {
      try {
        const prepared = await this.driver.prepare(record, spec);
        Object.assign(record, prepared);
        record.state = 'created';
        await this.containers.save(record);
      } catch (error) {
        await this.discard(entry);
        throw error;
      }
      await this.emit(record, 'create');
      return id;
    });
  }

  async start(id: ContainerId): Promise<void> {
    const entry = this.find(id);
    const { record } = entry;
    await entry.mutex.run(async () => {
      this.require(record, 'start');
      if (record.state === 'stopped') await this.revive(entry);
      record.process = await this.driver.start(record);
      record.state = 'running';
      record.startedAt = this.clock.now();
      await this.containers.save(record);
      await this.emit(record, 'start');
    });
    // A process that was quicker than our bookkeeping has ended by now.
    if (record.process !== undefined && !isAlive(record.process)) this.noticeExit(record.id);
  }

  async stop(id: ContainerId, options: { graceMs: number; signal?: AbortSignal }): Promise<void> {
    const entry = this.find(id);
    const { record } = entry;
    const proceed = await entry.mutex.run(async () => {
      this.require(record, 'stop');
      if (record.state === 'stopped') return false;
      if (options.graceMs <= 0) return true;
      await this.driver.signal(record, signalNumber(record.stopSignal));
      // A frozen process cannot react: it is thawed with the signal already waiting for it.
      if (record.state === 'paused') await this.driver.resume(record);
      return true;
    });
    if (!proceed) return;
    if (options.graceMs > 0 && (await this.endsWithin(entry, options.graceMs, options.signal))) return;
    await this.killAndWait(entry);
  }

  async kill(id: ContainerId, signal: string | number): Promise<void> {
    const entry = this.find(id);
    const number = signalNumber(signal);
    await entry.mutex.run(async () => {
      const { record } = entry;
      if (record.state !== 'running' && record.state !== 'paused') {
        throw new ContainerError(
          'ILLEGAL_TRANSITION',
          `cannot kill container "${record.name}": it is ${publicState(record)}, not running`,
          {
            details: { from: publicState(record), to: 'stopped' },
          },
        );
      }
      await this.driver.signal(record, number);
    });
  }

  async pause(id: ContainerId): Promise<void> {
    await this.transition(id, 'pause', (record) => this.driver.pause(record));
  }

  async resume(id: ContainerId): Promise<void> {
    await this.transition(id, 'resume', (record) => this.driver.resume(record));
  }

  async update(id: ContainerId, limits: ResourceLimits): Promise<void> {
    const entry = this.find(id);
    const { record } = entry;
    validateLimits(limits, `update container "${record.name}"`);
    await entry.mutex.run(async () => {
      if (!isLive(record)) {
        throw new ContainerError(
          'ILLEGAL_TRANSITION',
          `cannot update container "${record.name}": it is ${publicState(record)}`,
          {
            details: { from: publicState(record), to: publicState(record) },
          },
        );
      }
      const merged = { ...record.limits, ...limits };
      await this.driver.update(record, merged);
      record.limits = merged;
      await this.containers.save(record);
      await this.emit(record, 'update');
    });
  }

  async remove(id: ContainerId, options: { force?: boolean } = {}): Promise<void> {
    const entry = this.find(id);
    const transition = options.force === true ? 'remove-by-force' : 'remove';
    const { record } = entry;
    requireNextState(record.name, publicState(record), transition);
    // The end is awaited outside the lock, because recording it takes the lock.
    if (record.state === 'running' || record.state === 'paused') await this.killAndWait(entry);
    await entry.mutex.run(async () => {
      if (this.containers.byId(record.id) === undefined) throw this.notFound(id);
      this.require(record, transition);
      await this.discard(entry);
      await this.emit(record, 'remove');
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
    if (record.state !== 'running') {
      throw new ContainerError(
        'ILLEGAL_TRANSITION',
        `cannot exec in container "${record.name}": it is ${publicState(record)}, not running`,
        {
          hint: record.state === 'paused' ? 'resume it first' : 'start it first',
          details: { from: publicState(record), to: publicState(record) },
        },
      );
    }
    return await this.driver.exec(record, options);
  }

  async *logs(id: ContainerId, options: LogOptions = {}): AsyncIterable<LogLine> {
    const entry = this.find(id);
    const hasEnded = (): boolean =>
      this.closed || !isLive(entry.record) || this.containers.byId(entry.record.id) === undefined;
    yield* readLog(this.containers.logPath(entry.record.id), this.clock, hasEnded, options);
  }

  async wait(
    id: ContainerId,
    condition: 'not-running' | 'removed' = 'not-running',
    signal?: AbortSignal,
  ): Promise<ExitStatus> {
    const entry = this.find(id);
    const { record } = entry;
    const ended = (): boolean =>
      condition === 'removed'
        ? entry.removed
        : entry.removed || (record.state !== 'running' && record.state !== 'paused');
    // Nothing else keeps the process alive: what ends the wait is an event of the kernel, not of our event loop.
    const keepAlive = this.clock.interval(KEEP_ALIVE_MS, () => undefined);
    try {
      while (!ended()) {
        signal?.throwIfAborted();
        await entry.changed(signal);
      }
    } finally {
      keepAlive.cancel();
    }
    return record.exit ?? { exitCode: 0, oomKilled: false, finishedAt: record.createdAt };
  }

  async stats(id: ContainerId): Promise<ContainerStats> {
    const { record } = this.find(id);
    if (record.state !== 'running' && record.state !== 'paused') {
      throw new ContainerError(
        'ILLEGAL_TRANSITION',
        `cannot measure container "${record.name}": it is ${publicState(record)}, not running`,
        {
          details: { from: publicState(record), to: publicState(record) },
        },
      );
    }
    return await this.driver.stats(record);
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
      yield* this.log.follow(options);
    } finally {
      keepAlive.cancel();
    }
  }

  async setHosts(id: ContainerId, hosts: Readonly<Record<string, string>>): Promise<void> {
    const entry = this.find(id);
    validateHosts(hosts, `set the hosts of container "${entry.record.name}"`);
    await entry.mutex.run(() => this.driver.setHosts(entry.record, hosts));
  }

  async recover(): Promise<ContainerInfo[]> {
    this.requireOpen();
    await Promise.all(this.containers.all().map((entry) => this.recoverOne(entry)));
    for (const id of await this.strangers()) await this.containers.removeFiles(id);
    // A container whose record is damaged may still run: it is nobody's to sweep away.
    await this.driver.sweep(
      new Set([...this.containers.all().map(({ record }) => record.id), ...this.containers.damaged.keys()]),
    );
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
    if (this.closed) return;
    this.closed = true;
    this.ticker.cancel();
    await this.exitWatch[Symbol.asyncDispose]();
    // Operations under way finish their bookkeeping before the next owner may read it.
    await Promise.all(this.containers.all().map((entry) => entry.mutex.run(() => Promise.resolve())));
    await this.log.close();
    await this.lock[Symbol.asyncDispose]();
  }

  private async transition(
    id: ContainerId,
    kind: 'pause' | 'resume',
    act: (record: ContainerRecord) => Promise<void>,
  ): Promise<void> {
    const entry = this.find(id);
    const { record } = entry;
    await entry.mutex.run(async () => {
      this.require(record, kind);
      await act(record);
      record.state = kind === 'pause' ? 'paused' : 'running';
      await this.containers.save(record);
      await this.emit(record, kind);
    });
  }

  /** Makes an ended container ready to run once more. On disk it is `restarting` meanwhile, so that a crash is undone. */
  private async revive(entry: Entry): Promise<void> {
    const { record } = entry;
    record.state = 'restarting';
    await this.containers.save(record);
    try {
      Object.assign(record, await this.driver.revive(record), { bootId: this.bootId, exit: undefined });
      record.state = 'created';
    } catch (error) {
      await this.driver.release(record, 'stopped').catch((leftover: unknown) => {
        entry.leftover = leftover;
      });
      record.state = 'stopped';
      await this.containers.save(record);
      throw error;
    }
  }

  private async recoverOne(entry: Entry): Promise<void> {
    const { record } = entry;
    if (record.state === 'creating' || record.state === 'removing') {
      await entry.mutex.run(() => this.discard(entry));
      return;
    }
    if (record.state === 'restarting') {
      await entry.mutex.run(async () => {
        await this.driver.release(record, 'stopped');
        record.state = 'stopped';
        await this.containers.save(record);
      });
    }
    if (isLive(record)) await this.finishIfEnded(entry, true);
  }

  /** Directories without a readable record, left by a crash inside `remove`. */
  private async strangers(): Promise<string[]> {
    const names = await readdir(this.containers.path);
    return names.filter(
      (name) =>
        /^[0-9a-f]{64}$/.test(name) &&
        this.containers.byId(name) === undefined &&
        !this.containers.damaged.has(name),
    );
  }

  private noticeExit(id: ContainerId): void {
    const entry = this.containers.byId(id);
    if (entry === undefined || this.closed) return;
    this.finishIfEnded(entry, false).catch(() => undefined);
  }

  private tendAll(): void {
    for (const entry of this.containers.all()) {
      const { record } = entry;
      if (!isLive(record) || record.process === undefined) continue;
      if (!isAlive(record.process)) this.noticeExit(record.id);
      else if (record.state === 'running') this.driver.tend(record).catch(() => undefined);
    }
  }

  /** Records the end of a container's process, once. `nobodyReports`: no shim is going to tell the exit code any more. */
  private async finishIfEnded(entry: Entry, afterRestart: boolean): Promise<void> {
    const { record } = entry;
    await entry.mutex.run(async () => {
      if (!isLive(record) || entry.removed) return;
      const exit = await this.observeEnd(record, afterRestart);
      if (exit === undefined) return;
      record.exit = exit;
      await this.driver.release(record, 'stopped').catch((error: unknown) => {
        entry.leftover = error;
      });
      record.state = 'stopped';
      record.process = undefined;
      await this.containers.save(record);
      if (exit.oomKilled) await this.emit(record, 'oom', exit);
      await this.emit(record, 'die', exit);
      entry.announce();
    });
  }

  private async observeEnd(record: ContainerRecord, afterRestart: boolean): Promise<ExitStatus | undefined> {
    // Not started, by a driver that has no waiting init: there is nothing that could have ended.
    if (record.process === undefined) return undefined;
    const unknown = (): ExitStatus => ({
      exitCode: UNKNOWN_EXIT_CODE,
      oomKilled: false,
      finishedAt: this.clock.now(),
    });
    if (record.bootId !== this.bootId) return unknown();
    const deadline = this.clock.monotonicMs() + EXIT_REPORT_GRACE_MS;
    for (;;) {
      const seen = await this.driver.observe(record);
      if (!seen.alive) {
        const { exitCode, oomKilled, finishedAt } = seen;
        return { exitCode, oomKilled, finishedAt };
      }
      if (isAlive(record.process)) return undefined;
      // Gone, but the shim has not yet written how. After a restart of ours the same shim may still be at it.
      if (this.clock.monotonicMs() > deadline) return unknown();
      await this.clock.sleep(afterRestart ? 50 : 10);
    }
  }

  private async endsWithin(entry: Entry, ms: number, signal?: AbortSignal): Promise<boolean> {
    const timeout = new AbortController();
    const timer = this.clock.timer(ms, () => timeout.abort());
    const either = signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, signal]);
    try {
      while (!entry.removed && (entry.record.state === 'running' || entry.record.state === 'paused')) {
        if (either.aborted) {
          signal?.throwIfAborted();
          return false;
        }
        await entry.changed(either).catch(() => undefined);
      }
      return true;
    } finally {
      timer.cancel();
    }
  }

  private async killAndWait(entry: Entry): Promise<void> {
    const { record } = entry;
    await entry.mutex.run(async () => {
      if (record.state !== 'running' && record.state !== 'paused') return;
      await this.driver.signal(record, 9);
      // On cgroup v1 even SIGKILL waits for the thaw.
      if (record.state === 'paused') await this.driver.resume(record).catch(() => undefined);
    });
    if (await this.endsWithin(entry, KILL_DEADLINE_MS)) return;
    throw new ContainerError(
      'CONTAINER_STUCK',
      `cannot stop container "${record.name}": process ${record.process?.pid} did not end ${KILL_DEADLINE_MS} ms after SIGKILL`,
      {
        hint: 'the process waits in the kernel (state D), usually for a disk or a network mount; free that, then stop it again',
        retryable: true,
      },
    );
  }

  /** Frees everything of a container and forgets it. The record goes last, so that a crash leaves a way back here. */
  private async discard(entry: Entry): Promise<void> {
    const { record } = entry;
    record.state = 'removing';
    await this.containers.save(record);
    await this.driver.release(record, 'removed');
    await this.containers.remove(entry);
    entry.removed = true;
    entry.announce();
  }

  private async emit(
    record: ContainerRecord,
    type: ContainerEvent['type'],
    exit?: ExitStatus,
  ): Promise<void> {
    await this.log.append({
      at: this.clock.now(),
      type,
      id: record.id,
      name: record.name,
      labels: record.spec.labels ?? {},
      ...(exit === undefined ? {} : { exit }),
    });
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
    if (this.closed) throw new ContainerError('RUNTIME_UNAVAILABLE', `the ${this.name} runtime is closed`);
  }
}

/** A locked and read home directory. */
export interface OpenedHome {
  readonly lock: HomeLock;
  readonly containers: ContainerDirectory;
  readonly log: EventLog;
  readonly bootId: string;
}
