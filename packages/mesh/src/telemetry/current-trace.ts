// The trace of the request being served, for calls made while serving it, also when no SDK is registered.

import { AsyncLocalStorage } from 'node:async_hooks';

const current = new AsyncLocalStorage<string>();

/** The `traceparent` of the request being served here, when there is one. */
export function currentTraceparent(): string | undefined {
  return current.getStore();
}

/** Runs `work` (and all it awaits) as part of the trace. */
export function runInTrace<T>(traceparent: string, work: () => T): T {
  return current.run(traceparent, work);
}
