// BodyReader: finds where a body ends while it is forwarded, and refuses chunks that two parsers could read differently.

import type { Framing } from './fields.ts';
import { checkTrailer } from './fields.ts';
import { MAX_CHUNK_SIZE_DIGITS, MAX_TRAILER_BYTES } from './limits.ts';
import { HttpParseError } from './parse-error.ts';

const CR = 13;
const LF = 10;
const TAB = 9;
const DEL = 127;

type ChunkState = 'size' | 'size-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailer' | 'trailer-lf' | 'end-lf';

/**
 * Follows a body through its bytes. What it accepts is in canonical form already (exact hexadecimal sizes, CRLF, no chunk
 * extensions), so it may be forwarded verbatim: the next parser cannot see another message boundary in it. Trailers are
 * checked and left out, as RFC 9110 §6.5.1 allows: a next hop that ends a body too early would take them for a request.
 */
export class BodyReader {
  /** The body is complete. */
  done: boolean;
  readonly #framing: Framing;
  #left: number;
  #state: ChunkState = 'size';
  #digits = 0;
  #trailerBytes = 0;
  #line = '';
  // The part of the bytes of this call that is trailers: always one stretch, directly before the final CRLF.
  #omitFrom = -1;
  #omitTo = -1;

  constructor(framing: Framing) {
    this.#framing = framing;
    this.#left = framing.kind === 'length' ? framing.length : 0;
    this.done = framing.kind === 'none';
  }

  /**
   * Takes bytes from `start`; answers where the body's part of `bytes` ends. For chunked bodies the pure data slices go
   * to `data`, when given. Errors: 400 for a chunked body that breaks the grammar.
   */
  feed(bytes: Buffer, start: number, data?: (slice: Buffer) => void): number {
    if (this.done) return start;
    switch (this.#framing.kind) {
      case 'none':
        return start;
      case 'close':
        data?.(bytes.subarray(start));
        return bytes.length;
      case 'length': {
        const end = Math.min(bytes.length, start + this.#left);
        this.#left -= end - start;
        this.done = this.#left === 0;
        data?.(bytes.subarray(start, end));
        return end;
      }
      case 'chunked':
        return this.#feedChunked(bytes, start, data);
    }
  }

  /** What of the bytes of the last call of `feed`, which answered `end`, goes on to the next hop. */
  forwardable(bytes: Buffer, end: number): Buffer {
    if (this.#omitFrom < 0) return end === bytes.length ? bytes : bytes.subarray(0, end);
    return Buffer.concat([bytes.subarray(0, this.#omitFrom), bytes.subarray(this.#omitTo, end)]);
  }

  #feedChunked(bytes: Buffer, start: number, data: ((slice: Buffer) => void) | undefined): number {
    let at = start;
    this.#omitFrom = -1;
    while (at < bytes.length && !this.done) {
      if (this.#state === 'data') {
        const end = Math.min(bytes.length, at + this.#left);
        data?.(bytes.subarray(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = 'data-cr';
      } else {
        const byte = bytes[at] ?? 0;
        const trailing =
          this.#state === 'trailer-lf' || (this.#state === 'trailer' && (byte !== CR || this.#line !== ''));
        this.#step(byte);
        if (trailing && this.#omitFrom < 0) this.#omitFrom = at;
        at += 1;
        if (trailing) this.#omitTo = at;
      }
    }
    return at;
  }

  #step(byte: number): void {
    switch (this.#state) {
      case 'size':
        this.#sizeByte(byte);
        break;
      case 'size-lf':
        expect(byte, LF, 'after a chunk size');
        this.#state = this.#left === 0 ? 'trailer' : 'data';
        this.#digits = 0;
        break;
      case 'data-cr':
        expect(byte, CR, 'after a chunk');
        this.#state = 'data-lf';
        break;
      case 'data-lf':
        expect(byte, LF, 'after a chunk');
        this.#state = 'size';
        break;
      case 'trailer':
        this.#trailerByte(byte);
        break;
      case 'trailer-lf':
        expect(byte, LF, 'after a trailer field');
        this.#state = 'trailer';
        checkTrailer(this.#line);
        this.#line = '';
        break;
      case 'end-lf':
        expect(byte, LF, 'at the end of a chunked body');
        this.done = true;
        break;
    }
  }

  #sizeByte(byte: number): void {
    if (byte === CR) {
      if (this.#digits === 0) throw new HttpParseError(400, 'a chunk without a size');
      this.#state = 'size-lf';
      return;
    }
    const digit = hexDigit(byte);
    if (digit < 0) throw new HttpParseError(400, 'a chunk size that is not plain hexadecimal');
    this.#digits += 1;
    if (this.#digits > MAX_CHUNK_SIZE_DIGITS)
      throw new HttpParseError(400, 'a chunk size with too many digits');
    this.#left = this.#left * 16 + digit;
  }

  #trailerByte(byte: number): void {
    if (byte === CR) {
      this.#state = this.#line === '' ? 'end-lf' : 'trailer-lf';
      return;
    }
    // At once, not at the line's end: bytes go on as they come, and a lenient next hop could end the body at a bare LF.
    if ((byte < 32 && byte !== TAB) || byte === DEL)
      throw new HttpParseError(400, 'a control character in a trailer');
    this.#trailerBytes += 1;
    if (this.#trailerBytes > MAX_TRAILER_BYTES) throw new HttpParseError(400, 'trailers too long');
    this.#line += String.fromCharCode(byte);
  }
}

function expect(byte: number, wanted: number, where: string): void {
  if (byte !== wanted) throw new HttpParseError(400, `no CRLF ${where}`);
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  if (byte >= 97 && byte <= 102) return byte - 87;
  if (byte >= 65 && byte <= 70) return byte - 55;
  return -1;
}
