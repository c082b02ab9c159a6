// At most so many at once, in the order they came.

/** Runs tasks with bounded parallelism. */
export class Limiter {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.free = atOnce;
  }

  /** Runs `task` when a place is free; tasks given first begin first. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.free === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.waiting.push(resolve);
      await promise;
    } else {
      this.free -= 1;
    }
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      // The place is handed over, so that nobody who comes now overtakes whoever waits.
      if (next === undefined) this.free += 1;
      else next();
    }
  }
}

/**
 * Runs all tasks together; when one fails the others are told to stop, and its error is thrown once they have: nothing
 * goes on behind the caller's back.
 */
export async function allOrNone(
  controller: AbortController,
  tasks: readonly (() => Promise<unknown>)[],
): Promise<void> {
  let failed: { readonly error: unknown } | undefined;
  await Promise.all(
    tasks.map(async (task) => {
      try {
        await task();
      } catch (error) {
        failed ??= { error };
        controller.abort(error);
      }
    }),
  );
  if (failed !== undefined) throw failed.error;
}
