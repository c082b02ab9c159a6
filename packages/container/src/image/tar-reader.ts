// Reads a tar archive from a stream, entry by entry, in bounded memory: ustar, pax and GNU archives, hostile ones too.

import { invalidEntry, oversizedEntry } from './layer-errors.ts';
import {
  BLOCK,
  extendHeader,
  isZeroBlock,
  type PaxRecords,
  parseGnuName,
  parseHeader,
  parsePax,
  type TarHeader,
} from './tar-header.ts';

/** How far an archive may go. */
export interface TarLimits {
  /** Headers, those of extended headers included. */
  readonly maxEntries: number;
}

// Go's reader, and with it Docker and containerd, allows this much for one extended header or long name.
const MAX_EXTENSION_BYTES = 1024 * 1024;

/**
 * An archive being read: {@link next} for the header of each entry, then {@link whole} or {@link chunk} for its
 * content. What is not read is skipped. Throws `ARCHIVE_INVALID` and `ARCHIVE_TOO_LARGE`, naming the entry.
 */
export class TarReader {
  private readonly source: AsyncIterator<Uint8Array>;
  private readonly limits: TarLimits;
  private buffer: Buffer = Buffer.alloc(0);
  private at = 0;
  private isDone = false;
  private headers = 0;
  private current = 'before the first';
  /** Bytes of the present entry's content still to come. */
  private left = 0;
  /** Zeros after it, up to the next block. */
  private padding = 0;

  constructor(source: AsyncIterable<Uint8Array>, limits: TarLimits) {
    this.source = source[Symbol.asyncIterator]();
    this.limits = limits;
  }

  /** The next entry; undefined at the end of the archive, after which the whole source has been read. */
  async next(): Promise<TarHeader | undefined> {
    let pax: PaxRecords = { xattrs: new Map() };
    const gnu: { name?: string; linkName?: string } = {};
    for (;;) {
      await this.skip();
      const block = await this.block();
      if (block === undefined) return undefined;
      const header = parseHeader(block);
      this.current = header.name;
      this.headers += 1;
      if (this.headers > this.limits.maxEntries)
        throw oversizedEntry(
          header.name,
          'TOO_MANY_ENTRIES',
          `is one of more than ${this.limits.maxEntries} entries`,
        );
      if (header.flag === 'x') pax = parsePax(await this.extension(header), header.name);
      // Records for all that follows hold comments (git archive); like Docker, we let them be.
      else if (header.flag === 'g') await this.extension(header);
      else if (header.flag === 'L') gnu.name = parseGnuName(await this.extension(header));
      else if (header.flag === 'K') gnu.linkName = parseGnuName(await this.extension(header));
      else return this.begin(extendHeader(header, pax, gnu));
    }
  }

  /** All content of the present entry, when it is at hand and nothing of it was read. No copy: use it before the next call. */
  whole(): Uint8Array | undefined {
    if (this.left > this.buffer.length - this.at) return undefined;
    return this.take(this.left);
  }

  /** The next piece of the present entry's content; undefined at its end. No copy: use it before the next call. */
  async chunk(): Promise<Uint8Array | undefined> {
    if (this.left === 0) return undefined;
    if (this.at === this.buffer.length) await this.fill('content');
    return this.take(Math.min(this.left, this.buffer.length - this.at));
  }

  /** Stops reading and lets the source go. */
  async close(): Promise<void> {
    if (this.isDone) return;
    this.isDone = true;
    await this.source.return?.();
  }

  private begin(header: TarHeader): TarHeader {
    this.current = header.name;
    this.left = header.size;
    this.padding = (BLOCK - (header.size % BLOCK)) % BLOCK;
    return header;
  }

  private async extension(header: TarHeader): Promise<Buffer> {
    const { size } = header;
    if (size > MAX_EXTENSION_BYTES)
      throw oversizedEntry(header.name, 'HEADER_TOO_LARGE', `has an extended header of ${size} bytes`);
    this.begin(header);
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const chunk = await this.chunk();
      if (chunk === undefined) break;
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  private async skip(): Promise<void> {
    while (this.left > 0) await this.chunk();
    this.left = this.padding;
    this.padding = 0;
    while (this.left > 0) await this.chunk();
  }

  /** The next header block; undefined at the end: two zero blocks, or the source's end where a header could be. */
  private async block(): Promise<Buffer | undefined> {
    const first = await this.bytes(BLOCK);
    if (first === undefined) return undefined;
    if (!isZeroBlock(first)) return first;
    const second = await this.bytes(BLOCK);
    if (second !== undefined && !isZeroBlock(second))
      throw invalidEntry(this.current, 'BAD_HEADER', 'is followed by half an end of the archive');
    await this.drain();
    return undefined;
  }

  private async bytes(length: number): Promise<Buffer | undefined> {
    while (this.buffer.length - this.at < length) {
      const rest = this.buffer.subarray(this.at);
      const chunk = await this.pull();
      if (chunk === undefined) {
        if (rest.length === 0) return undefined;
        throw invalidEntry(this.current, 'TRUNCATED', 'is followed by a cut header');
      }
      this.buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      this.at = 0;
    }
    const found = this.buffer.subarray(this.at, this.at + length);
    this.at += length;
    return found;
  }

  private take(length: number): Uint8Array {
    const found = this.buffer.subarray(this.at, this.at + length);
    this.at += length;
    this.left -= length;
    return found;
  }

  private async fill(what: string): Promise<void> {
    const chunk = await this.pull();
    if (chunk === undefined)
      throw invalidEntry(this.current, 'TRUNCATED', `is cut: ${this.left} bytes of its ${what} are missing`);
    this.buffer = chunk;
    this.at = 0;
  }

  /** Reads on behind the end: the digest is that of all bytes. */
  private async drain(): Promise<void> {
    while ((await this.pull()) !== undefined);
  }

  private async pull(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.isDone) return undefined;
      const { done, value } = await this.source.next();
      if (done === true) {
        this.isDone = true;
        return undefined;
      }
      if (value.length > 0) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
  }
}
