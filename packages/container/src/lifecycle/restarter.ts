// The timers of restarts that are due. They live in the process that has the runtime open; the due time is on disk.

import type { Clock, Timer } from '@heptad/core';
import type { Entry } from './container-directory.ts';

/** Calls `restart` when a container's `restartAt` has come. */
export class Restarter {
  private readonly clock: Clock;
  private readonly restart: (entry: Entry) => Promise<void>;
  private readonly timers = new Map<string, Timer>();

  constructor(clock: Clock, restart: (entry: Entry) => Promise<void>) {
    this.clock = clock;
    this.restart = restart;
  }

  /** Sets the timer of a container that has a `restartAt`. */
  schedule(entry: Entry): void {
    const { id, restartAt } = entry.record;
    this.cancel(id);
    if (restartAt === undefined) return;
    const fire = (): void => {
      this.timers.delete(id);
      // A restart that fails notes why, and when the next one is due.
      this.restart(entry).catch(() => undefined);
    };
    const delay = Math.max(0, restartAt - this.clock.now());
    this.timers.set(id, this.clock.timer(delay, fire, { unref: true }));
  }

  /** Calls a restart off. */
  cancel(id: string): void {
    this.timers.get(id)?.cancel();
    this.timers.delete(id);
  }

  /** Calls all off; whoever opens the home next schedules them again. */
  close(): void {
    for (const id of [...this.timers.keys()]) this.cancel(id);
  }
}
