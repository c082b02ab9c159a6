// Gorilla compression of one series: delta-of-delta timestamps and XORed values.

// Source: Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database", VLDB 2015, §4.1, with the
// timestamp bucket widths (14, 17, 20, 64 bits) that Prometheus chose for milliseconds. The format is in
// packages/monitoring/FORMATS.md.

import { BitReader, BitWriter } from './bits.ts';

/** No leading/trailing window has been written yet; 0xff cannot be a count of leading zeros. */
const NO_WINDOW = 0xff;

/** Leading zeros are stored in 5 bits. */
const MAX_LEADING = 31;

const HIGH = 2 ** 32;

// One shared 8-byte scratch turns a double into two 32-bit words; JavaScript has no 64-bit integers that are fast.
const scratch = new DataView(new ArrayBuffer(8));

/** Where an encoder or decoder stands after a sample. */
interface Position {
  count: number;
  time: number;
  delta: number;
  high: number;
  low: number;
  leading: number;
  trailing: number;
}

function start(): Position {
  return { count: 0, time: 0, delta: 0, high: 0, low: 0, leading: NO_WINDOW, trailing: 0 };
}

/** An append-only compressed run of samples of one series. */
export class XorChunk {
  readonly #writer: BitWriter;
  readonly #at: Position;
  readonly #minTime: number;

  private constructor(writer: BitWriter, at: Position, minTime: number) {
    this.#writer = writer;
    this.#at = at;
    this.#minTime = minTime;
  }

  /** A chunk that begins with one sample. `time` is in milliseconds, a safe integer >= 0. */
  static of(time: number, value: number): XorChunk {
    const writer = new BitWriter();
    const at = start();
    scratch.setFloat64(0, value);
    at.high = scratch.getUint32(0);
    at.low = scratch.getUint32(4);
    at.time = time;
    at.count = 1;
    writeWide(writer, time);
    writer.write(at.high, 32);
    writer.write(at.low, 32);
    return new XorChunk(writer, at, time);
  }

  /** Takes up a chunk where {@link XorChunk.toBytes} left it. Throws a `RangeError` when the bytes are too short. */
  static resume(bytes: Uint8Array, count: number): XorChunk {
    const reader = new BitReader(bytes);
    const at = start();
    let minTime = 0;
    for (let index = 0; index < count; index++) {
      readSample(reader, at);
      if (index === 0) minTime = at.time;
    }
    return new XorChunk(new BitWriter(bytes.slice(), reader.position), at, minTime);
  }

  get count(): number {
    return this.#at.count;
  }
  get minTime(): number {
    return this.#minTime;
  }
  get maxTime(): number {
    return this.#at.time;
  }
  /** The value of the newest sample. */
  get lastValue(): number {
    scratch.setUint32(0, this.#at.high);
    scratch.setUint32(4, this.#at.low);
    return scratch.getFloat64(0);
  }
  /** Size in bytes. */
  get size(): number {
    return (this.#writer.length + 7) >>> 3;
  }

  /** Adds a sample. `time` must be later than {@link XorChunk.maxTime}. */
  append(time: number, value: number): void {
    const at = this.#at;
    const delta = time - at.time;
    writeDeltaOfDelta(this.#writer, delta - at.delta);
    at.delta = delta;
    at.time = time;
    scratch.setFloat64(0, value);
    writeXor(this.#writer, at, scratch.getUint32(0), scratch.getUint32(4));
    at.count++;
  }

  toBytes(): Uint8Array {
    return this.#writer.toBytes();
  }
}

/**
 * Calls `visit` with every sample of an encoded chunk, oldest first.
 *
 * The value's exact bits are kept, so that the staleness marker (one particular NaN) survives.
 */
export function readChunk(
  bytes: Uint8Array,
  count: number,
  visit: (time: number, value: number) => void,
): void {
  const reader = new BitReader(bytes);
  const at = start();
  for (let index = 0; index < count; index++) {
    readSample(reader, at);
    scratch.setUint32(0, at.high);
    scratch.setUint32(4, at.low);
    visit(at.time, scratch.getFloat64(0));
  }
}

function writeWide(writer: BitWriter, value: number): void {
  // Floor division and the unsigned shift together give the two's complement of a negative value.
  writer.write(Math.floor(value / HIGH) >>> 0, 32);
  writer.write(value >>> 0, 32);
}

function readWide(reader: BitReader): number {
  const high = reader.read(32) | 0;
  return high * HIGH + reader.read(32);
}

function fits(value: number, bits: number): boolean {
  const half = 2 ** (bits - 1);
  return value >= -half && value < half;
}

function writeDeltaOfDelta(writer: BitWriter, value: number): void {
  if (value === 0) {
    writer.write(0b0, 1);
  } else if (fits(value, 14)) {
    writer.write(0b10, 2);
    writer.write(value & 0x3fff, 14);
  } else if (fits(value, 17)) {
    writer.write(0b110, 3);
    writer.write(value & 0x1ffff, 17);
  } else if (fits(value, 20)) {
    writer.write(0b1110, 4);
    writer.write(value & 0xfffff, 20);
  } else {
    writer.write(0b1111, 4);
    writeWide(writer, value);
  }
}

function readDeltaOfDelta(reader: BitReader): number {
  if (reader.read(1) === 0) return 0;
  if (reader.read(1) === 0) return signed(reader.read(14), 14);
  if (reader.read(1) === 0) return signed(reader.read(17), 17);
  if (reader.read(1) === 0) return signed(reader.read(20), 20);
  return readWide(reader);
}

function signed(value: number, bits: number): number {
  return (value << (32 - bits)) >> (32 - bits);
}

function writeXor(writer: BitWriter, at: Position, high: number, low: number): void {
  const xorHigh = (high ^ at.high) >>> 0;
  const xorLow = (low ^ at.low) >>> 0;
  at.high = high;
  at.low = low;
  if (xorHigh === 0 && xorLow === 0) {
    writer.write(0, 1);
    return;
  }
  const leading = Math.min(MAX_LEADING, xorHigh === 0 ? 32 + Math.clz32(xorLow) : Math.clz32(xorHigh));
  const trailing = xorLow === 0 ? 32 + trailingZeros(xorHigh) : trailingZeros(xorLow);
  if (at.leading !== NO_WINDOW && leading >= at.leading && trailing >= at.trailing) {
    writer.write(0b10, 2);
  } else {
    at.leading = leading;
    at.trailing = trailing;
    writer.write(0b11, 2);
    writer.write(leading, 5);
    // 64 significant bits do not fit into 6 bits and are written as 0, which cannot occur otherwise.
    writer.write((64 - leading - trailing) & 63, 6);
  }
  writeMiddle(writer, xorHigh, xorLow, at.leading, at.trailing);
}

function writeMiddle(writer: BitWriter, high: number, low: number, leading: number, trailing: number): void {
  if (trailing >= 32) {
    writer.write(high >>> (trailing - 32), 64 - leading - trailing);
    return;
  }
  writer.write(high, 32 - leading);
  writer.write(low >>> trailing, 32 - trailing);
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

function readSample(reader: BitReader, at: Position): void {
  if (at.count === 0) {
    at.time = readWide(reader);
    at.high = reader.read(32);
    at.low = reader.read(32);
    at.count = 1;
    return;
  }
  at.delta += readDeltaOfDelta(reader);
  at.time += at.delta;
  at.count++;
  if (reader.read(1) === 0) return;
  if (reader.read(1) === 1) {
    at.leading = reader.read(5);
    const significant = reader.read(6) || 64;
    at.trailing = 64 - at.leading - significant;
  }
  if (at.trailing >= 32) {
    at.high = (at.high ^ shiftLeft(reader.read(64 - at.leading - at.trailing), at.trailing - 32)) >>> 0;
    return;
  }
  at.high = (at.high ^ reader.read(32 - at.leading)) >>> 0;
  at.low = (at.low ^ shiftLeft(reader.read(32 - at.trailing), at.trailing)) >>> 0;
}

/** `<<` takes its count modulo 32, which a shift by 32 must not. */
function shiftLeft(word: number, count: number): number {
  return count >= 32 ? 0 : word << count;
}
