// A wake-up call for loops that wait until something has changed.

/** Waiters resolve at the next {@link Pulse.notify}; nothing is queued, so a waiter must look before it waits. */
export class Pulse {
  readonly #waiters = new Set<() => void>();

  /** Resolves at the next notification, or when `signal` aborts (quietly: look at the signal). */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) {
        resolve();
        return;
      }
      const wake = (): void => {
        this.#waiters.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiters.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  /** Wakes all who wait now. */
  notify(): void {
    for (const wake of [...this.#waiters]) wake();
  }
}
