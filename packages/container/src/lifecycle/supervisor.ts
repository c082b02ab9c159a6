// Keeps the record of every container true: notices ends, kills and waits, rolls back, recovers after a crash.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, ContainerEvent, ContainerId, ExitStatus, Timer } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { ensureDirectory } from '../system/files.ts';
import { type HomeLock, lockHome } from '../system/home-lock.ts';
import { currentBootId, isAlive } from '../system/processes.ts';
import { ContainerDirectory, type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import { EventLog } from './event-log.ts';
import type { ContainerRecord } from './record.ts';

// Deaths are told by the kernel through a watched directory; the poll finds what such a hint missed.
const TEND_INTERVAL_MS = 1_000;
// After SIGKILL the kernel frees a process within milliseconds, unless it is stuck in a device.
const KILL_DEADLINE_MS = 10_000;
// The shim reports an exit code a moment after the process is gone; later than this it will not.
const EXIT_REPORT_GRACE_MS = 3_000;
const EXIT_REPORT_POLL_MS = 10;
/** The exit code of a container whose end nobody saw (reboot, killed shim), as in Docker. */
const UNKNOWN_EXIT_CODE = 255;

/** A locked and read home directory. */
export interface OpenedHome {
  readonly lock: HomeLock;
  readonly containers: ContainerDirectory;
  readonly events: EventLog;
  readonly bootId: string;
}

/** Locks `home` and reads the containers in it. Throws `HOME_IN_USE`. */
export async function openHome(home: string): Promise<OpenedHome> {
  await ensureDirectory(home);
  const lock = await lockHome(home);
  try {
    const containers = await ContainerDirectory.open(join(home, 'containers'));
    const events = await EventLog.open(join(home, 'events.jsonl'));
    return { lock, containers, events, bootId: await currentBootId() };
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

/** What only some events tell. */
export type EventDetails = Partial<Pick<ContainerEvent, 'exit' | 'health' | 'exec' | 'oldName'>>;

/** The part of a runtime that acts without being asked. */
export class Supervisor implements AsyncDisposable {
  readonly containers: ContainerDirectory;
  readonly events: EventLog;
  readonly bootId: string;
  private readonly driver: RuntimeDriver;
  private readonly clock: Clock;
  private readonly lock: HomeLock;
  private readonly ticker: Timer;
  private readonly exitWatch: AsyncDisposable;
  private ended = false;

  constructor(driver: RuntimeDriver, clock: Clock, home: OpenedHome) {
    this.driver = driver;
    this.clock = clock;
    this.lock = home.lock;
    this.containers = home.containers;
    this.events = home.events;
    this.bootId = home.bootId;
    this.ticker = clock.interval(TEND_INTERVAL_MS, () => this.tendAll(), { unref: true });
    this.exitWatch = driver.watchExits((id) => this.noticeExit(id));
  }

  /** Whether it has been disposed of. */
  get closed(): boolean {
    return this.ended;
  }

  /** Writes an event. */
  async emit(record: ContainerRecord, type: ContainerEvent['type'], more: EventDetails = {}): Promise<void> {
    const { id, name } = record;
    await this.events.append({
      at: this.clock.now(),
      type,
      id,
      name,
      labels: record.spec.labels ?? {},
      ...more,
    });
  }

  /** Looks whether a container's process has ended, and records it if so. */
  noticeExit(id: ContainerId): void {
    const entry = this.containers.byId(id);
    if (entry === undefined || this.ended) return;
    // Failing to write it down now, on a full disk, the next look tries again.
    this.finishIfEnded(entry).catch(() => undefined);
  }

  /** Waits until the container has ended; false when it has not within `ms`. */
  async endsWithin(entry: Entry, ms: number, signal?: AbortSignal): Promise<boolean> {
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

  /** Kills and waits for the end. Throws `CONTAINER_STUCK` when the kernel does not let the process go. */
  async killAndWait(entry: Entry): Promise<void> {
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
  async discard(entry: Entry): Promise<void> {
    const { record } = entry;
    record.state = 'removing';
    await this.containers.save(record, { durable: false });
    await this.driver.release(record, 'removed');
    await this.containers.remove(entry);
    entry.removed = true;
    entry.announce();
  }

  /** Makes an ended container ready to run once more. On disk it is `restarting` meanwhile, so that a crash is undone. */
  async revive(entry: Entry): Promise<void> {
    const { record } = entry;
    record.state = 'restarting';
    await this.containers.save(record, { durable: false });
    try {
      Object.assign(record, await this.driver.revive(record), { bootId: this.bootId, exit: undefined });
      record.state = 'created';
    } catch (error) {
      await this.releaseStopped(entry);
      record.state = 'stopped';
      await this.containers.save(record);
      throw error;
    }
  }

  /** Adopts what runs, records what ended, undoes what was half done, and frees what belongs to nobody. */
  async recover(): Promise<void> {
    await Promise.all(this.containers.all().map((entry) => this.recoverOne(entry)));
    for (const id of await this.strangers()) await this.containers.removeFiles(id);
    const known = this.containers.all().map(({ record }) => record.id);
    // A container whose record is damaged may still run: it is nobody's to sweep away.
    await this.driver.sweep(new Set([...known, ...this.containers.damaged.keys()]));
  }

  /** Stops watching and gives the home to the next owner, once operations under way have finished their bookkeeping. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    this.ticker.cancel();
    await this.exitWatch[Symbol.asyncDispose]();
    await Promise.all(this.containers.all().map((entry) => entry.mutex.run(() => Promise.resolve())));
    for (const entry of this.containers.all()) entry.announce();
    await this.events.close();
    await this.lock[Symbol.asyncDispose]();
  }

  private tendAll(): void {
    for (const { record } of this.containers.all()) {
      if (!isLive(record) || record.process === undefined) continue;
      if (!isAlive(record.process)) this.noticeExit(record.id);
      else if (record.state === 'running') this.driver.tend(record).catch(() => undefined);
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
        await this.releaseStopped(entry);
        record.state = 'stopped';
        await this.containers.save(record);
      });
    }
    if (isLive(record)) await this.finishIfEnded(entry);
  }

  /** Directories without a readable record, left by a crash inside `remove` or by a power cut inside `create`. */
  private async strangers(): Promise<string[]> {
    const names = await readdir(this.containers.path);
    const isStranger = (name: string): boolean =>
      /^[0-9a-f]{64}$/.test(name) &&
      this.containers.byId(name) === undefined &&
      !this.containers.damaged.has(name);
    return names.filter(isStranger);
  }

  /** Records the end of a container's process, once. */
  private async finishIfEnded(entry: Entry): Promise<void> {
    const { record } = entry;
    await entry.mutex.run(async () => {
      if (!isLive(record) || entry.removed) return;
      const exit = await this.observeEnd(record);
      if (exit === undefined) return;
      // Freed before it is called stopped: whoever waits for the end finds addresses and ports free.
      await this.releaseStopped(entry);
      record.exit = exit;
      record.state = 'stopped';
      record.process = undefined;
      await this.containers.save(record);
      if (exit.oomKilled) await this.emit(record, 'oom', { exit });
      await this.emit(record, 'die', { exit });
      entry.exits += 1;
      entry.announce();
    });
  }

  private async releaseStopped(entry: Entry): Promise<void> {
    // What cannot be freed now is tried again at removal, which then says what and why.
    await this.driver.release(entry.record, 'stopped').catch(() => undefined);
  }

  private async observeEnd(record: ContainerRecord): Promise<ExitStatus | undefined> {
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
      await this.clock.sleep(EXIT_REPORT_POLL_MS);
    }
  }
}
