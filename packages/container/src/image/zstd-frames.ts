// Decompresses zstd of many frames: Node's decoder ends with the first, while zstd:chunked layers have one per file.

import { once } from 'node:events';
import { createZstdDecompress, constants as zlib } from 'node:zlib';

// zstd's own default: more would let a layer ask for gigabytes of memory.
const MAX_WINDOW_LOG = 27;
const MAGIC = 0xfd2fb528;
// Frames for other readers (the table of contents of zstd:chunked), 16 magic numbers wide.
const SKIPPABLE_MAGIC = 0x184d2a50;
const FCS_BYTES = [0, 2, 4, 8];
const DICTIONARY_BYTES = [0, 1, 2, 4];
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

/** Bytes of a source by number. */
class Input {
  private readonly source: AsyncIterator<Uint8Array>;
  private buffer: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterator<Uint8Array>) {
    this.source = source;
  }

  /** Exactly `length` bytes; undefined when the source has ended before the first of them. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.buffer.length < length) {
      const { done, value } = await this.source.next();
      if (done === true) {
        if (this.buffer.length === 0) return undefined;
        throw new Error('the zstd data is cut short');
      }
      this.buffer = Buffer.concat([this.buffer, value]);
    }
    const taken = this.buffer.subarray(0, length);
    this.buffer = this.buffer.subarray(length);
    return taken;
  }

  async require(length: number): Promise<Buffer> {
    const taken = await this.take(length);
    if (taken === undefined && length > 0) throw new Error('the zstd data is cut short');
    return taken ?? Buffer.alloc(0);
  }
}

/** The bytes that zstd frames hold, one after the other (RFC 8878). Throws an `Error` for what is no zstd. */
export async function* unzstd(
  source: AsyncIterable<Uint8Array>,
  chunkBytes: number,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  const input = new Input(iterator);
  try {
    for (let magic = await input.take(4); magic !== undefined; magic = await input.take(4)) {
      const number = magic.readUInt32LE();
      if (number >>> 4 === SKIPPABLE_MAGIC >>> 4) await skip(input);
      else if (number === MAGIC) yield* decode(frame(input, magic), chunkBytes);
      else throw new Error('a zstd frame begins with a wrong number');
    }
  } finally {
    await iterator.return?.();
  }
}

async function skip(input: Input): Promise<void> {
  const PIECE = 65_536;
  for (let left = (await input.require(4)).readUInt32LE(); left > 0; left -= PIECE)
    await input.require(Math.min(left, PIECE));
}

/** The compressed bytes of one frame: its header and its blocks say how long they are. */
async function* frame(input: Input, magic: Buffer): AsyncGenerator<Buffer> {
  const [descriptor = 0] = await input.require(1);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const fcs = isSingleSegment && descriptor >>> 6 === 0 ? 1 : (FCS_BYTES[descriptor >>> 6] ?? 0);
  const header = await input.require(
    (isSingleSegment ? 0 : 1) + (DICTIONARY_BYTES[descriptor & 3] ?? 0) + fcs,
  );
  yield Buffer.concat([magic, Buffer.from([descriptor]), header]);
  for (;;) {
    const blockHeader = await input.require(3);
    const word = blockHeader.readUIntLE(0, 3);
    const type = (word >>> 1) & 3;
    if (type === RESERVED_BLOCK) throw new Error('a zstd block is of a reserved type');
    yield blockHeader;
    yield await input.require(type === RLE_BLOCK ? 1 : word >>> 3);
    if ((word & 1) === 1) break;
  }
  if ((descriptor & 4) !== 0) yield await input.require(4);
}

async function* decode(compressed: AsyncGenerator<Buffer>, chunkBytes: number): AsyncGenerator<Uint8Array> {
  const decoder = createZstdDecompress({
    chunkSize: chunkBytes,
    params: { [zlib.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
  });
  // Who stops reading us early must not leave the feeding behind, waiting for a decoder that is gone.
  const stop = new AbortController();
  const feed = async (): Promise<void> => {
    try {
      for await (const piece of compressed)
        if (piece.length > 0 && !decoder.write(piece)) await once(decoder, 'drain', { signal: stop.signal });
      decoder.end();
    } catch (error) {
      decoder.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const fed = feed();
  try {
    yield* decoder;
  } finally {
    stop.abort();
    decoder.destroy();
    await fed;
  }
}
