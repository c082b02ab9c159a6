// Bytes that arrive for a command, one piece at a time: whoever sends waits until they are taken.

/** A queue of one: the sender feels the reader's pace. */
export class InputQueue implements AsyncIterable<Uint8Array> {
  private waiting: { bytes: Uint8Array; taken: () => void } | undefined;
  private wake: () => void = () => undefined;
  private closed = false;

  /** Resolves once the bytes were taken, or nobody will. */
  async push(bytes: Uint8Array): Promise<void> {
    if (this.closed) return;
    await new Promise<void>((resolve) => {
      this.waiting = { bytes, taken: resolve };
      this.wake();
    });
  }

  /** There will be no more. */
  close(): void {
    this.closed = true;
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const { waiting } = this;
        if (waiting !== undefined) {
          this.waiting = undefined;
          yield waiting.bytes;
          waiting.taken();
        } else if (this.closed) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
        }
      }
    } finally {
      this.closed = true;
      this.waiting?.taken();
    }
  }
}
