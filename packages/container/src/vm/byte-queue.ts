// A queue of bytes between a connection that receives and a reader that comes when it likes.

/** Bytes to be read once, by one reader. */
export class ByteQueue implements AsyncIterable<Uint8Array> {
  private readonly chunks: Uint8Array[] = [];
  private ended = false;
  private abandoned = false;
  private wake: (() => void) | undefined;
  private readonly onRead: (bytes: number) => void;

  /** `onRead` is told how much the reader has taken, so that the other side may send as much again. */
  constructor(onRead: (bytes: number) => void) {
    this.onRead = onRead;
  }

  /** Adds bytes; those for a reader that has left are dropped. */
  push(bytes: Uint8Array): void {
    if (this.abandoned) {
      this.onRead(bytes.length);
      return;
    }
    this.chunks.push(bytes);
    this.wake?.();
  }

  /** No more will come. */
  end(): void {
    this.ended = true;
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const chunk = this.chunks.shift();
        if (chunk !== undefined) {
          this.onRead(chunk.length);
          yield chunk;
        } else if (this.ended) return;
        else {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.wake = resolve;
          await promise;
        }
      }
    } finally {
      this.abandoned = true;
      for (const chunk of this.chunks.splice(0)) this.onRead(chunk.length);
    }
  }
}
