// deadline: an AbortSignal that fires after a time of our own clock.

import { type Clock, HeptadError } from '@heptad/core';

/** Runs `work` with a signal that aborts after `ms`. The timer goes when the work is done. */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const timer = clock.timer(ms, () =>
    controller.abort(new HeptadError('TIMEOUT', `no answer within ${ms} ms`, { retryable: true })),
  );
  try {
    return await work(controller.signal);
  } finally {
    timer.cancel();
  }
}
