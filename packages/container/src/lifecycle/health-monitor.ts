// Runs the health checks of the running containers, one at a time each, and tells what they say.

import type { Clock, ContainerHealth, HealthResult, Random, Timer } from '@heptad/core';
import { errorMessage, isHeptadError } from '@heptad/core';
import type { Entry } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import { readText } from './exec-session.ts';
import {
  MAX_OUTPUT_BYTES,
  nextCheckDelayMs,
  nextHealth,
  type SettledHealthCheck,
  STARTING,
  settleHealthCheck,
} from './health.ts';

/** What the monitor is told to do with what it finds. */
export interface HealthListener {
  /** Keeps and tells the new health; called while nothing else happens to the container. */
  changed(entry: Entry, health: ContainerHealth): Promise<void>;
  /** Acts on a container that has just become unhealthy. */
  unhealthy(entry: Entry, action: 'restart' | 'stop'): Promise<void>;
}

interface Watched {
  readonly stop: AbortController;
  timer: Timer | undefined;
}

/** Checks run with the time limit and the abort of exec, which kill them and all they started. */
export class HealthMonitor {
  private readonly driver: RuntimeDriver;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly listener: HealthListener;
  private readonly watched = new Map<string, Watched>();

  constructor(driver: RuntimeDriver, ports: { clock: Clock; random: Random }, listener: HealthListener) {
    this.driver = driver;
    this.clock = ports.clock;
    this.random = ports.random;
    this.listener = listener;
  }

  /** Begins to check a running container that has a health check; one that is watched already is left alone. */
  watch(entry: Entry): void {
    const { id, healthCheck } = entry.record;
    if (healthCheck === undefined || this.watched.has(id)) return;
    const watched: Watched = { stop: new AbortController(), timer: undefined };
    this.watched.set(id, watched);
    this.schedule(entry, watched, settleHealthCheck(healthCheck));
  }

  /** Ends the checks of a container, the one under way included. */
  forget(id: string): void {
    const watched = this.watched.get(id);
    this.watched.delete(id);
    watched?.timer?.cancel();
    watched?.stop.abort(new Error('the container has ended'));
  }

  /** Ends all checks. */
  close(): void {
    for (const id of [...this.watched.keys()]) this.forget(id);
  }

  private schedule(entry: Entry, watched: Watched, check: SettledHealthCheck): void {
    const { record } = entry;
    const ranMs = this.clock.now() - (record.startedAt ?? 0);
    const delay = nextCheckDelayMs(record.health ?? STARTING, check, ranMs);
    watched.timer = this.clock.timer(
      delay,
      () => {
        this.turn(entry, watched, check).then(
          () => watched.stop.signal.aborted || this.schedule(entry, watched, check),
          // Keeping a result on a full disk can fail; the next turn tries again.
          () => watched.stop.signal.aborted || this.schedule(entry, watched, check),
        );
      },
      { unref: true },
    );
  }

  private async turn(entry: Entry, watched: Watched, check: SettledHealthCheck): Promise<void> {
    const { record } = entry;
    // A paused container cannot answer, and that is not its fault.
    if (record.state !== 'running') return;
    const result = await this.check(entry, watched.stop.signal, check);
    const before = record.health ?? STARTING;
    const health = nextHealth(before, result, check, record.startedAt ?? 0);
    const applies = await entry.mutex.run(async () => {
      if (watched.stop.signal.aborted || entry.removed || record.state !== 'running') return false;
      await this.listener.changed(entry, health);
      return true;
    });
    const became = applies && health.status === 'unhealthy' && before.status !== 'unhealthy';
    if (became && check.onUnhealthy !== 'none') await this.listener.unhealthy(entry, check.onUnhealthy);
  }

  private async check(entry: Entry, signal: AbortSignal, check: SettledHealthCheck): Promise<HealthResult> {
    const startedAt = this.clock.now();
    const done = (exitCode: number, output: string): HealthResult => ({
      startedAt,
      finishedAt: this.clock.now(),
      exitCode,
      output,
    });
    try {
      const { command, timeoutMs } = check;
      const id = this.random.uuid(startedAt);
      const session = await this.driver.exec(entry.record, { command, timeoutMs, signal }, id);
      const [stdout, stderr, exitCode] = await Promise.all([
        readText(session.stdout, MAX_OUTPUT_BYTES),
        readText(session.stderr, MAX_OUTPUT_BYTES),
        session.exit,
      ]);
      return done(
        exitCode,
        Buffer.from(stdout + stderr)
          .subarray(0, MAX_OUTPUT_BYTES)
          .toString(),
      );
    } catch (error) {
      const why = isHeptadError(error, 'TIMEOUT')
        ? `killed: it took longer than ${check.timeoutMs} ms`
        : errorMessage(error);
      return done(-1, why.slice(0, MAX_OUTPUT_BYTES));
    }
  }
}
