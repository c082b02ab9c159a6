// The part of a runtime that acts without being asked: notices ends, tends logs, recovers after a crash.

import { readdir } from 'node:fs/promises';
import type { Clock, Random, Timer } from '@heptad/core';
import type { HomeLock } from '../system/home-lock.ts';
import { isAlive } from '../system/processes.ts';
import { type Entry, isLive } from './container-directory.ts';
import type { RuntimeDriver } from './driver.ts';
import type { OpenedHome } from './home.ts';
import { Transitions } from './transitions.ts';

// Deaths are told by the kernel through a watched directory; the poll finds what such a hint missed.
const TEND_INTERVAL_MS = 1_000;

/** Keeps the record of every container true. */
export class Supervisor extends Transitions implements AsyncDisposable {
  private readonly lock: HomeLock;
  private readonly ticker: Timer;
  private readonly exitWatch: AsyncDisposable;

  constructor(driver: RuntimeDriver, ports: { clock: Clock; random: Random }, home: OpenedHome) {
    super(driver, ports, home);
    this.lock = home.lock;
    this.ticker = ports.clock.interval(TEND_INTERVAL_MS, () => this.tendAll(), { unref: true });
    this.exitWatch = driver.watchExits((id) => this.noticeExit(id));
  }

  /** Whether it has been disposed of. */
  get closed(): boolean {
    return this.ended;
  }

  /** Adopts what runs, records what ended, undoes what was half done, and frees what belongs to nobody. */
  async recover(): Promise<void> {
    await Promise.all(this.containers.all().map((entry) => this.recoverOne(entry)));
    for (const id of await this.strangers()) await this.containers.removeFiles(id);
    const known = this.containers.all().map(({ record }) => record.id);
    // A container whose record is damaged may still run: it is nobody's to sweep away.
    await this.driver.sweep(new Set([...known, ...this.containers.damaged.keys()]));
    for (const entry of this.containers.all()) {
      if (entry.record.state === 'stopped') this.restarter.schedule(entry);
      if (entry.record.state === 'running' || entry.record.state === 'paused') this.health.watch(entry);
    }
  }

  /** Stops watching and gives the home to the next owner, once operations under way have finished their bookkeeping. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    this.ticker.cancel();
    this.restarter.close();
    this.health.close();
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
    // Stopped by hand before the machine went down: of those, `always` means the next boot.
    const rebooted = record.bootId !== this.bootId && record.state === 'stopped';
    if (rebooted && record.stoppedByHand === true && record.spec.restart?.policy === 'always') {
      record.stoppedByHand = false;
      record.restartAt = this.clock.now();
    }
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
}
