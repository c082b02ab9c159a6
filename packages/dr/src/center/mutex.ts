// A lock for one process: runs one action after the other, in the order asked.

/** Serialises asynchronous actions. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs `action` when all earlier ones have ended, however they ended. */
  run<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(action, action);
    this.#tail = turn.catch(() => {});
    return turn;
  }
}
