// What several tests need: a clock that moves by hand, a fresh directory.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '@heptad/core';
import { onTestFinished } from 'vitest';

/** A clock that stands still until it is moved; timers fire when it passes them. */
export class ManualClock implements Clock {
  #now = 1_800_000_000_000;
  #timers = new Set<{ at: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  monotonicMs(): number {
    return this.#now - 1_700_000_000_000;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#now || !this.#timers.delete(timer)) continue;
      timer.run();
    }
  }

  timer(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + ms, run: callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  interval(ms: number, callback: () => void): Timer {
    let current: Timer | undefined;
    const again = (): void => {
      current = this.timer(ms, again);
      callback();
    };
    current = this.timer(ms, again);
    return { cancel: () => current?.cancel() };
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.timer(ms, resolve);
    });
  }
}

/** A directory that is removed when the test ends. */
export async function freshDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'heptad-security-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The code of the error that `work` rejects with, or `none`. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
