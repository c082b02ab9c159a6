// RequestBody: a request's body on its way to an endpoint, kept for a second attempt while it is small.

import type { Socket } from 'node:net';
import { BodyReader } from './http1/body.ts';
import type { Framing } from './http1/fields.ts';
import { MAX_REPLAY_BYTES } from './http1/limits.ts';

/** Follows the body's framing, writes it on, remembers it within {@link MAX_REPLAY_BYTES}. */
export class RequestBody {
  /** The endpoint takes no more for now. */
  blocked = false;
  readonly #reader: BodyReader;
  #kept: Buffer[] | undefined = [];
  #bytes = 0;

  constructor(framing: Framing) {
    this.#reader = new BodyReader(framing);
  }

  /** Read from the client to its end. */
  get done(): boolean {
    return this.#reader.done;
  }

  /** Whether all of it so far can be sent again. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /** Nothing of it has been taken yet. */
  get untouched(): boolean {
    return this.#bytes === 0;
  }

  /** Takes bytes and writes them on; answers how many belonged to the body. Errors: HttpParseError. */
  take(bytes: Buffer, upstream: Socket, connected: boolean): number {
    // What is taken before there is a connection must fit what is kept, so that a refused one loses nothing.
    const offered = connected ? bytes : bytes.subarray(0, MAX_REPLAY_BYTES);
    const end = this.#reader.feed(offered, 0);
    const slice = this.#reader.forwardable(offered, end);
    this.#bytes += slice.length;
    if (this.#bytes > MAX_REPLAY_BYTES) this.#kept = undefined;
    this.#kept?.push(slice);
    this.blocked = !upstream.write(slice);
    return end;
  }

  /** Sends what is kept to the endpoint of the next attempt. */
  replay(upstream: Socket): void {
    this.blocked = false;
    for (const piece of this.#kept ?? []) this.blocked = !upstream.write(piece);
  }
}
