// Reading and writing single bits, most significant first.

/** Grows by doubling from this size: a chunk of 120 usual samples is 60 to 240 bytes. */
const INITIAL_BYTES = 64;

/** Appends bits to a growing byte array. */
export class BitWriter {
  #bytes: Uint8Array;
  #bits: number;

  constructor(bytes: Uint8Array = new Uint8Array(INITIAL_BYTES), bits = 0) {
    this.#bytes = bytes;
    this.#bits = bits;
  }

  /** How many bits were written. */
  get length(): number {
    return this.#bits;
  }

  /** Appends the `count` (0..32) lowest bits of `value`. */
  write(value: number, count: number): void {
    this.#reserve(count);
    let remaining = count;
    while (remaining > 0) {
      const offset = this.#bits & 7;
      const room = 8 - offset;
      const take = Math.min(remaining, room);
      const piece = (value >>> (remaining - take)) & ((1 << take) - 1);
      const index = this.#bits >>> 3;
      this.#bytes[index] = (this.#bytes[index] ?? 0) | (piece << (room - take));
      this.#bits += take;
      remaining -= take;
    }
  }

  /** A copy of what was written, the last byte padded with zeros. */
  toBytes(): Uint8Array {
    return this.#bytes.slice(0, (this.#bits + 7) >>> 3);
  }

  #reserve(bits: number): void {
    const needed = (this.#bits + bits + 7) >>> 3;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

/** Takes bits from a byte array. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #bits = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** How many bits were taken. */
  get position(): number {
    return this.#bits;
  }

  /** The next `count` (0..32) bits as an unsigned number. Reading past the end throws a `RangeError`. */
  read(count: number): number {
    let value = 0;
    let remaining = count;
    while (remaining > 0) {
      const byte = this.#bytes[this.#bits >>> 3];
      if (byte === undefined) throw new RangeError('chunk ends in the middle of a sample');
      const offset = this.#bits & 7;
      const room = 8 - offset;
      const take = Math.min(remaining, room);
      const piece = (byte >>> (room - take)) & ((1 << take) - 1);
      value = ((value << take) | piece) >>> 0;
      this.#bits += take;
      remaining -= take;
    }
    return value;
  }
}
