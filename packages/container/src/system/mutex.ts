// First come, first served exclusion for the operations on one container.

/** Runs asynchronous sections one after the other. */
export class Mutex {
  private tail: Promise<void> = Promise.resolve();

  /** Runs `section` after all sections given before have ended, well or badly. */
  run<T>(section: () => Promise<T>): Promise<T> {
    const result = this.tail.then(section);
    this.tail = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}
