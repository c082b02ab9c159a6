// Work that several callers want at once is done once; it is given up only when all of them have gone.

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/** Shared work by key. */
export class SingleFlight<T> {
  private readonly flights = new Map<string, Flight<T>>();

  /**
   * The result of the work under way for `key`, or of `work`, begun now. `isOwner` is true for whoever began it. Rejects
   * with the signal's reason as soon as the caller's own signal aborts.
   */
  async run(
    key: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<{ readonly value: T; readonly isOwner: boolean }> {
    for (;;) {
      signal.throwIfAborted();
      const known = this.flights.get(key);
      try {
        return {
          value: await this.join(key, known ?? this.begin(key, work), signal),
          isOwner: known === undefined,
        };
      } catch (error) {
        // Whoever began it may have asked another registry, or with other credentials: its failure is not ours.
        if (known === undefined || signal.aborted) throw error;
      }
    }
  }

  private async join(key: string, flight: Flight<T>, signal: AbortSignal): Promise<T> {
    flight.waiting += 1;
    const { promise, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([flight.result, promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      flight.waiting -= 1;
      if (flight.waiting === 0) {
        // Nobody can join what is being given up.
        if (this.flights.get(key) === flight) this.flights.delete(key);
        flight.controller.abort(signal.reason);
        // The last to leave waits until files and connections are let go.
        await flight.result.catch(() => undefined);
      }
    }
  }

  private begin(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const result = work(controller.signal).finally(() => {
      if (this.flights.get(key)?.result === result) this.flights.delete(key);
    });
    result.catch(() => undefined);
    const flight: Flight<T> = { result, controller, waiting: 0 };
    this.flights.set(key, flight);
    return flight;
  }
}
