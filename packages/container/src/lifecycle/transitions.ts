// What happens to one container at a time: started, ended, restarted, removed; each step first on disk, then told.

import type { Clock, ContainerEvent, ContainerId, ExitedBy, Random } from '@heptad/core';
import { errorMessage } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { isAlive, type ProcessIdentity } from '../system/processes.ts';
import { type ContainerDirectory, type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import type { EventLog } from './event-log.ts';
import { STARTING } from './health.ts';
import { HealthMonitor } from './health-monitor.ts';
import type { OpenedHome } from './home.ts';
import { type ObservedEnd, observeEnd } from './observe-end.ts';
import { type ContainerRecord, publicState } from './record.ts';
import { nextRestart } from './restart-policy.ts';
import { Restarter } from './restarter.ts';
import { signalNumber } from './signals.ts';
import { requireNextState } from './state-machine.ts';

// After SIGKILL the kernel frees a process within milliseconds, unless it is stuck in a device.
const KILL_DEADLINE_MS = 10_000;
// How long an unhealthy container may take to end by itself, as in Docker's stop.
const UNHEALTHY_GRACE_MS = 10_000;

/** What only some events tell. */
export type EventDetails = Partial<Pick<ContainerEvent, 'exit' | 'health' | 'exec' | 'oldName'>>;

/** The steps of a container's life. {@link Supervisor} is this with eyes of its own. */
export abstract class Transitions {
  readonly containers: ContainerDirectory;
  readonly events: EventLog;
  readonly bootId: string;
  protected readonly driver: RuntimeDriver;
  protected readonly clock: Clock;
  protected readonly restarter: Restarter;
  protected readonly health: HealthMonitor;
  protected ended = false;

  protected constructor(
    driver: RuntimeDriver,
    ports: { clock: Clock; random: Random },
    home: Omit<OpenedHome, 'lock'>,
  ) {
    this.driver = driver;
    this.clock = ports.clock;
    this.containers = home.containers;
    this.events = home.events;
    this.bootId = home.bootId;
    this.restarter = new Restarter(ports.clock, (entry) => this.restart(entry));
    this.health = new HealthMonitor(driver, ports, {
      changed: async (entry, health) => {
        const { record } = entry;
        const became = record.health?.status !== health.status;
        record.health = health;
        await this.containers.save(record, { durable: false });
        if (became) await this.emit(record, 'health_status', { health: health.status });
      },
      unhealthy: (entry) => this.end(entry, 'unhealthy', UNHEALTHY_GRACE_MS),
    });
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

  /** Lets a created or stopped container run; call it while nothing else happens to the container. */
  async start(entry: Entry): Promise<void> {
    const { record } = entry;
    const revived = record.state === 'stopped';
    // Read before, so that nothing in its log is older than its start: clients ask for the log since then.
    const startedAt = this.clock.now();
    record.process = revived ? await this.revive(entry) : await this.driver.start(record);
    record.state = 'running';
    record.startedAt = startedAt;
    const fresh = { exitedBy: undefined, error: undefined, restartAt: undefined };
    Object.assign(record, fresh, { health: record.healthCheck === undefined ? undefined : STARTING });
    // After a power cut a started container and a created one come to the same: neither runs. So nothing to sync for.
    await this.containers.save(record, { durable: false });
    this.restarter.cancel(record.id);
    this.health.watch(entry);
    await this.emit(record, 'start');
  }

  /** Asks a container to end, waits, and then kills it. What has ended already only loses its due restart. */
  async end(entry: Entry, by: ExitedBy, graceMs: number, signal?: AbortSignal): Promise<void> {
    const { record } = entry;
    const proceed = await entry.mutex.run(async () => {
      if (entry.removed) return false;
      requireNextState(record.name, publicState(record), 'stop');
      const lives = record.state === 'running' || record.state === 'paused';
      // On disk before the signal: should we die in between, whoever sees the end knows that it was wanted.
      if (lives || by === 'stop') await this.note(entry, by, lives);
      if (!lives || graceMs <= 0) return lives;
      await this.driver.signal(record, signalNumber(record.stopSignal));
      // A frozen process cannot react: it is thawed with the signal already waiting for it.
      if (record.state === 'paused') await this.driver.resume(record);
      return true;
    });
    if (!proceed) return;
    if (graceMs > 0 && (await this.endsWithin(entry, graceMs, signal))) return;
    await this.killAndWait(entry);
  }

  /** Writes down who is about to end a container, and calls off its restart unless its health is the reason. */
  async note(entry: Entry, by: ExitedBy, lives = true): Promise<void> {
    const { record } = entry;
    if (lives) record.exitedBy = by;
    if (by !== 'unhealthy') {
      record.stoppedByHand = true;
      record.restartAt = undefined;
      this.restarter.cancel(record.id);
    }
    await this.containers.save(record, { durable: false });
  }

  /** Frees everything of a container and forgets it. The record goes last, so that a crash leaves a way back here. */
  async discard(entry: Entry): Promise<void> {
    const { record } = entry;
    record.state = 'removing';
    this.restarter.cancel(record.id);
    this.health.forget(record.id);
    await this.containers.save(record, { durable: false });
    await this.driver.release(record, 'removed');
    await this.containers.remove(entry);
    entry.removed = true;
    entry.announce();
  }

  /**
   * Starts an ended container once more. On disk it is `restarting` meanwhile, so that a crash is undone; to everybody
   * who asks it is stopped until it runs.
   */
  private async revive(entry: Entry): Promise<ProcessIdentity> {
    const { record } = entry;
    const { exit, bootId } = record;
    record.state = 'restarting';
    await this.containers.save(record, { durable: false });
    try {
      Object.assign(record, await this.driver.revive(record), { bootId: this.bootId, exit: undefined });
      return await this.driver.start(record);
    } catch (error) {
      await this.releaseStopped(entry);
      Object.assign(record, {
        state: 'stopped',
        process: undefined,
        error: errorMessage(error),
        exit,
        bootId,
      });
      await this.containers.save(record);
      throw error;
    }
  }

  /** Records the end of a container's process, once. */
  protected async finishIfEnded(entry: Entry): Promise<void> {
    const { record } = entry;
    await entry.mutex.run(async () => {
      if (!isLive(record) || entry.removed) return;
      const end = await observeEnd(this.driver, this.clock, record, this.bootId);
      if (end === undefined) return;
      this.health.forget(record.id);
      // Freed before it is called stopped: whoever waits for the end finds addresses and ports free.
      await this.releaseStopped(entry);
      this.settleEnd(record, end);
      record.state = 'stopped';
      record.process = undefined;
      await this.containers.save(record);
      const { exit } = end;
      if (exit.oomKilled) await this.emit(record, 'oom', { exit });
      await this.emit(record, 'die', { exit });
      entry.exits += 1;
      entry.announce();
      if (!this.ended) this.restarter.schedule(entry);
    });
  }

  /** Who ended it, and what its restart policy makes of that. */
  private settleEnd(record: ContainerRecord, { exit, seen }: ObservedEnd): void {
    const itself = seen ? 'itself' : 'unknown';
    const exitedBy = exit.oomKilled ? 'oom' : (record.exitedBy ?? itself);
    record.exit = exit;
    record.exitedBy = exitedBy;
    // The init of one never started can be killed from outside; that is no run to repeat.
    if (record.state === 'created') return;
    this.planRestart(record, exit.exitCode, exit.finishedAt - (record.startedAt ?? exit.finishedAt));
  }

  private planRestart(record: ContainerRecord, exitCode: number, ranMs: number): void {
    const next = nextRestart({
      policy: record.spec.restart,
      healthCheck: record.healthCheck,
      exitCode,
      exitedBy: record.exitedBy ?? 'itself',
      stoppedByHand: record.stoppedByHand ?? false,
      streak: record.restartStreak ?? 0,
      ranMs,
    });
    record.restartAt = next === undefined ? undefined : this.clock.now() + next.delayMs;
    if (next !== undefined) record.restartStreak = next.streak;
  }

  /** Starts a container whose restart is due. A failure is kept as its `error`, and the back-off goes on. */
  private async restart(entry: Entry): Promise<void> {
    const { record } = entry;
    await entry.mutex.run(async () => {
      if (this.ended || entry.removed || record.state !== 'stopped' || record.restartAt === undefined) return;
      record.restartCount = (record.restartCount ?? 0) + 1;
      try {
        await this.emit(record, 'restart');
        await this.start(entry);
      } catch {
        // Why is in `record.error`. What could not be started has failed, whatever it last ended with.
        this.planRestart(record, record.exit?.exitCode || 1, 0);
        await this.containers.save(record);
        this.restarter.schedule(entry);
      }
    });
    if (record.process !== undefined && !isAlive(record.process)) this.noticeExit(record.id);
  }

  protected async releaseStopped(entry: Entry): Promise<void> {
    // What cannot be freed now is tried again at removal, which then says what and why.
    await this.driver.release(entry.record, 'stopped').catch(() => undefined);
  }
}
