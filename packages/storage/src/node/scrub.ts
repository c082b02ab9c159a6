// Scrub: reads everything a node holds, slowly, so that silent damage is found while good copies still exist.

import type { Clock } from '@heptad/core';
import type { ObjectDirectory } from './object-directory.ts';

/** Pause between objects as a multiple of the time the last one took (Garage's Tranquilizer, k = 4 for scrub). */
const TRANQUILITY = 4;
/** Shortest pause, so that many tiny objects do not keep the disk busy. */
const MIN_PAUSE_MS = 5;

/** How far a scrub is. */
export interface ScrubProgress {
  readonly running: boolean;
  readonly checked: number;
  readonly total: number;
  readonly corrupt: number;
  /** End of the last whole pass; 0 before the first. */
  readonly finishedAt: number;
}

/** How to scrub once. */
export interface ScrubOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Without pauses, for an administrator who waits for it. */
  readonly fast?: boolean;
  readonly onProgress?: (progress: ScrubProgress) => void;
}

/** Verifies every object once; damaged ones are marked in the index. Rejects with the signal's reason. */
export async function scrubOnce(objects: ObjectDirectory, options: ScrubOptions): Promise<ScrubProgress> {
  const { clock, signal } = options;
  const ids = [...objects.entries()].map((entry) => entry.id);
  let corrupt = 0;
  let checked = 0;
  const report = (running: boolean, finishedAt: number): ScrubProgress => {
    const progress = { running, checked, total: ids.length, corrupt, finishedAt };
    options.onProgress?.(progress);
    return progress;
  };
  report(true, 0);
  for (const id of ids) {
    signal.throwIfAborted();
    const began = clock.monotonicMs();
    if ((await objects.read(id)).state === 'corrupt') corrupt += 1;
    checked += 1;
    report(true, 0);
    if (options.fast === true) continue;
    await clock.sleep(Math.max(MIN_PAUSE_MS, (clock.monotonicMs() - began) * TRANQUILITY), signal);
  }
  return report(false, clock.now());
}
