// HeadBuffer: collects bytes until a message head is complete, within its limit.

import { MAX_HEAD_BYTES } from './limits.ts';
import { HttpParseError } from './parse-error.ts';

const END_OF_HEAD = '\r\n\r\n';
const CR = 13;
const LF = 10;

/** A complete head and what came after it. */
export interface CompleteHead {
  /** latin1 text without the final empty line. */
  readonly text: string;
  readonly rest: Buffer | undefined;
}

/** Collects a message head from chunks. Memory: at most {@link MAX_HEAD_BYTES} plus one chunk. */
export class HeadBuffer {
  #held: Buffer | undefined;

  /** Whether some bytes of a head are held. */
  get started(): boolean {
    return this.#held !== undefined;
  }

  /** Adds bytes; the head when it is complete. Refuses oversized heads (431) and lines ended by a bare LF (400). */
  push(chunk: Buffer): CompleteHead | undefined {
    const held = this.#held;
    let bytes = held === undefined ? chunk : Buffer.concat([held, chunk]);
    // A client may send an empty line after a body (RFC 9112 §2.2): one is skipped, no more.
    if (bytes[0] === CR && bytes[1] === LF && !(bytes[2] === CR)) bytes = bytes.subarray(2);
    const from = held === undefined ? 0 : Math.max(0, held.length - 5);
    const end = bytes.indexOf(END_OF_HEAD, from, 'latin1');
    if (end < 0) {
      if (bytes.length > MAX_HEAD_BYTES) throw tooLarge();
      refuseBareLineFeed(bytes, from);
      this.#held = bytes.length === 0 ? undefined : bytes;
      return undefined;
    }
    if (end > MAX_HEAD_BYTES) throw tooLarge();
    this.#held = undefined;
    const after = end + END_OF_HEAD.length;
    return {
      text: bytes.toString('latin1', 0, end),
      rest: after < bytes.length ? bytes.subarray(after) : undefined,
    };
  }
}

function tooLarge(): HttpParseError {
  return new HttpParseError(431, `a head over ${MAX_HEAD_BYTES} bytes`);
}

/** Such a head would never look complete: say so at once instead of waiting for a time limit. */
function refuseBareLineFeed(bytes: Buffer, from: number): void {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (at === 0 || bytes[at - 1] !== CR) throw new HttpParseError(400, 'a line ended by a bare line feed');
  }
}
