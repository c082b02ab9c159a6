// Sleeping, over any clock's timers: what every implementation of Clock.sleep is.

import type { Clock } from './clock.ts';

/** Resolves after `ms` by the clock's own timer; rejects with the signal's reason as soon as `signal` aborts. */
export function sleepByTimer(clock: Pick<Clock, 'timer'>, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.timer(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
