// Docker's multiplexed stream: each piece of output has an 8-byte header with its stream and its length.

import { ContainerError } from '../errors.ts';

/** Which stream a frame belongs to. `system` carries an error of the engine itself. */
export type StreamName = 'stdin' | 'stdout' | 'stderr' | 'system';

/** One piece of a stream. */
export interface StreamFrame {
  readonly stream: StreamName;
  readonly payload: Uint8Array;
}

const HEADER_BYTES = 8;
const NAMES: readonly StreamName[] = ['stdin', 'stdout', 'stderr', 'system'];
// Engines send at most 32 KiB in a frame of a stream and one log message in a frame of a log; a larger length means
// that the bytes are no frames at all (a terminal's raw output), and must not make us wait for gigabytes.
const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/** Cuts bytes into frames, whatever pieces they arrive in. Throws `INVALID_STREAM` for bytes that are no frames. */
export class FrameDecoder {
  private chunks: Uint8Array[] = [];
  private size = 0;
  private needed = HEADER_BYTES;
  private stream: StreamName | undefined;

  /** The frames completed by `chunk`. */
  push(chunk: Uint8Array): StreamFrame[] {
    this.chunks.push(chunk);
    this.size += chunk.length;
    const frames: StreamFrame[] = [];
    // Joined only once enough is there, so that a large frame in many pieces is copied once.
    while (this.size >= this.needed) {
      const bytes = this.take(this.needed);
      if (this.stream === undefined) {
        this.readHeader(bytes);
        if (this.needed > 0) continue;
      }
      if (this.stream !== undefined && this.needed > 0) frames.push({ stream: this.stream, payload: bytes });
      this.stream = undefined;
      this.needed = HEADER_BYTES;
    }
    return frames;
  }

  /** Whether the bytes so far end between two frames. */
  get complete(): boolean {
    return this.size === 0 && this.stream === undefined;
  }

  private readHeader(header: Buffer): void {
    const stream = NAMES[header[0] ?? 255];
    const length = header.readUInt32BE(4);
    const padded = header[1] === 0 && header[2] === 0 && header[3] === 0;
    if (stream === undefined || !padded || length > MAX_FRAME_BYTES) {
      throw new ContainerError(
        'INVALID_STREAM',
        `cannot read a multiplexed stream: ${header.toString('hex')} is no frame header`,
        { hint: 'a container with a terminal sends its output raw; read it without decoding frames' },
      );
    }
    this.stream = stream;
    this.needed = length;
  }

  private take(count: number): Buffer {
    const [first] = this.chunks;
    const joined =
      this.chunks.length === 1 && first !== undefined
        ? Buffer.from(first.buffer, first.byteOffset, first.length)
        : Buffer.concat(this.chunks);
    const rest = joined.subarray(count);
    this.chunks = rest.length === 0 ? [] : [rest];
    this.size = rest.length;
    return joined.subarray(0, count);
  }
}

/** A frame as bytes. */
export function encodeFrame(stream: 'stdout' | 'stderr', payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32BE(NAMES.indexOf(stream) << 24, 0);
  frame.writeUInt32BE(payload.length, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}
