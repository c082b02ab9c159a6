// A running operation that can be awaited for its result and iterated for its progress, or both.

/**
 * A promise of the result that is also an async iterable of progress.
 *
 * The work starts at once and goes on whether or not anybody iterates; leaving the loop early does not stop it (an
 * `AbortSignal` does). Iteration ends with the work, and throws what the work threw. A slow reader misses only what is
 * out of date: of two reports on one thing it sees the later.
 */
export type Operation<Event, Result> = Promise<Result> & AsyncIterable<Event>;

/** Hears of progress. */
export type Report<Event> = (event: Event) => void;

interface Reader<Event> {
  readonly pending: Map<string, Event>;
  wake: () => void;
}

/**
 * Starts `work`. `keyOf` says what an event is about: a later event takes the place of an unread one with the same key,
 * so that unread progress is bounded by the number of things, not by their bytes.
 */
export function startOperation<Event, Result>(
  work: (report: Report<Event>) => Promise<Result>,
  keyOf: (event: Event) => string,
): Operation<Event, Result> {
  const latest = new Map<string, Event>();
  const readers = new Set<Reader<Event>>();
  let ended = false;
  const put = (map: Map<string, Event>, event: Event): void => {
    const key = keyOf(event);
    // Deleted first: a map keeps the place of a replaced key, and events must come in the order they happened.
    map.delete(key);
    map.set(key, event);
  };
  const report = (event: Event): void => {
    put(latest, event);
    for (const reader of readers) {
      put(reader.pending, event);
      reader.wake();
    }
  };
  const result = work(report).finally(() => {
    ended = true;
    for (const reader of readers) reader.wake();
  });
  // Whoever iterates learns of a failure there; it must not count as unhandled because nobody awaits the promise.
  result.catch(() => undefined);

  async function* iterate(): AsyncGenerator<Event> {
    const reader: Reader<Event> = { pending: new Map(latest), wake: () => undefined };
    readers.add(reader);
    try {
      for (;;) {
        for (const [key, event] of reader.pending) {
          reader.pending.delete(key);
          yield event;
        }
        if (reader.pending.size > 0) continue;
        if (ended) break;
        const { promise, resolve } = Promise.withResolvers<void>();
        reader.wake = resolve;
        await promise;
      }
      await result;
    } finally {
      readers.delete(reader);
    }
  }
  return Object.assign(result, { [Symbol.asyncIterator]: iterate });
}
