// A reader of the protobuf wire format: just what OTLP uses.

// Source: protobuf.dev/programming-guides/encoding. Groups (wire types 3 and 4) are deprecated and refused.

import { MonitoringError } from '../errors.ts';

const HIGH = 2 ** 32;
/** A varint of 64 bits takes ten bytes. */
const MAX_VARINT_BYTES = 10;

function bad(why: string): MonitoringError {
  return new MonitoringError('INVALID_PAYLOAD', `cannot decode the protobuf message: ${why}`);
}

/** A cursor over one message. Unknown fields are skipped, as the format demands. */
export class ProtobufReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #at: number;
  #wireType = 0;

  constructor(bytes: Uint8Array, from = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = from;
    this.#end = end;
  }

  /** Calls `visit` with each field number; it must read the value or call {@link ProtobufReader.skip}. */
  fields(visit: (field: number) => void): void {
    while (this.#at < this.#end) {
      const tag = this.#varint32();
      this.#wireType = tag & 7;
      const field = tag >>> 3;
      if (field === 0) throw bad('it has a field number 0');
      const before = this.#at;
      visit(field);
      if (this.#at === before) throw bad(`field ${field} was not read`);
    }
    if (this.#at !== this.#end) throw bad('it ends in the middle of a field');
  }

  skip(): void {
    if (this.#wireType === 0) this.#varint();
    else if (this.#wireType === 1) this.#advance(8);
    else if (this.#wireType === 2) this.bytes();
    else if (this.#wireType === 5) this.#advance(4);
    else throw bad(`it has the unknown wire type ${this.#wireType}`);
  }

  /** A uint32, enum or bool. */
  uint(): number {
    this.#expect(0);
    const [low, high] = this.#varint();
    return high * HIGH + low;
  }

  /** An int64 or int32; exact up to 2^53. */
  int(): number {
    this.#expect(0);
    const [low, high] = this.#varint();
    return (high | 0) * HIGH + low;
  }

  /** A sint32 or sint64 in zigzag. */
  zigzag(): number {
    const value = this.uint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A fixed64 as a bigint, for nanoseconds, which exceed 2^53. */
  fixed64(): bigint {
    this.#expect(1);
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  sfixed64(): bigint {
    this.#expect(1);
    return this.#view.getBigInt64(this.#advance(8), true);
  }

  double(): number {
    this.#expect(1);
    return this.#view.getFloat64(this.#advance(8), true);
  }

  fixed32(): number {
    this.#expect(5);
    return this.#view.getUint32(this.#advance(4), true);
  }

  bytes(): Uint8Array {
    this.#expect(2);
    const length = this.#varint32();
    const from = this.#advance(length);
    return this.#bytes.subarray(from, from + length);
  }

  text(): string {
    return decoder.decode(this.bytes());
  }

  /** A reader of a message inside this one. */
  message(): ProtobufReader {
    this.#expect(2);
    const length = this.#varint32();
    const from = this.#advance(length);
    return new ProtobufReader(this.#bytes, from, from + length);
  }

  /** A repeated number, packed or not: `read` reads one from the given reader. */
  repeated(wireType: 0 | 1 | 5, into: number[], read: (reader: ProtobufReader) => number): void {
    if (this.#wireType === wireType) {
      into.push(read(this));
      return;
    }
    const inner = this.message();
    inner.#wireType = wireType;
    while (inner.#at < inner.#end) into.push(read(inner));
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType)
      throw bad(`a field has wire type ${this.#wireType}, expected ${wireType}`);
  }

  #advance(count: number): number {
    const from = this.#at;
    if (count > this.#end - from) throw bad('a field is longer than its message');
    this.#at = from + count;
    return from;
  }

  #varint32(): number {
    const [low, high] = this.#varint();
    if (high !== 0) throw bad('a length or tag is over 32 bits');
    return low;
  }

  #varint(): [low: number, high: number] {
    let low = 0;
    let high = 0;
    for (let index = 0; index < MAX_VARINT_BYTES; index++) {
      const byte = this.#bytes[this.#advance(1)] ?? 0;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (7 * index - 32);
      if (byte < 0x80) return [low >>> 0, high >>> 0];
    }
    throw bad('a varint is longer than ten bytes');
  }
}

const decoder = new TextDecoder();
