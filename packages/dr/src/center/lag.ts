// How far behind its primary a backup is, in bytes and in time.

import { comparePositions } from '../topology/position.ts';
import type { Progress } from './messages.ts';

/** Measures one backup's lag, heartbeat by heartbeat. */
export class LagMeter {
  #lag = { bytes: 0, ms: 0 };
  #caughtUpMs = 0;

  get lag(): { readonly bytes: number; readonly ms: number } {
    return this.#lag;
  }

  /** A new primary is followed: how long it has been behind is counted from here. */
  restart(nowMs: number): void {
    this.#caughtUpMs = nowMs;
  }

  /** Compares with how far the primary says it is. */
  measure(own: Progress, primary: Progress | undefined, nowMs: number): void {
    if (primary === undefined) return;
    if (comparePositions(own.position, primary.position) >= 0) this.#caughtUpMs = nowMs;
    this.#lag = { bytes: Math.max(0, primary.bytes - own.bytes), ms: nowMs - this.#caughtUpMs };
  }
}
