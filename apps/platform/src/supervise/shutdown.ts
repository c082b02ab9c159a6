// How a process of the platform ends: on the first signal it closes in order; on the second, at once.

import { sayError } from '../cli/output.ts';

/** Resolves on SIGINT, SIGTERM or SIGHUP. A second signal ends the process at once. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(130);
        asked = true;
        resolve(signal);
      });
    }
  });
}

/** Runs a long-lived part until a signal, then closes it. Exits with 1 when it cannot start or close. */
export async function runUntilSignal(start: () => Promise<AsyncDisposable>): Promise<void> {
  try {
    const signalled = untilSignal();
    const part = await start();
    await signalled;
    await part[Symbol.asyncDispose]();
    process.exit(0);
  } catch (error) {
    sayError(error);
    process.exit(1);
  }
}
