// One turn of the event loop, for code that must let everything already runnable finish first.

/** Resolves after all microtasks and one round of pending I/O callbacks have run. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
