// What host and guest agent say to each other: frames over one serial port, and messages of named byte strings in them.

/** Kinds of frames; docs/reference/vm-agent-protocol.md says who sends which when. */
export const FRAME = {
  fill: 0,
  request: 1,
  reply: 2,
  stdin: 3,
  stdout: 4,
  stderr: 5,
  credit: 6,
  exit: 7,
  reset: 8,
  hello: 9,
} as const;

/** One frame. */
export interface Frame {
  readonly type: number;
  /** Of the program that the bytes belong to, or the number of the request. */
  readonly channel: number;
  readonly payload: Buffer;
}

const HEADER_BYTES = 9;
/** Longest payload. More is a stream that has lost its step: the largest message is a secret of 1 MiB. */
export const MAX_FRAME_BYTES: number = 4 * 1024 * 1024;

/** The bytes of a frame: type, channel, length, payload. */
export function encodeFrame(type: number, channel: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(type, 0);
  header.writeUInt32BE(channel, 1);
  header.writeUInt32BE(payload.length, 5);
  return Buffer.concat([header, payload]);
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  private pending: Buffer = Buffer.alloc(0);

  /** The frames that are whole now. Throws `RangeError` for a length that cannot be. */
  push(bytes: Uint8Array): Frame[] {
    this.pending = this.pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.pending, bytes]);
    const frames: Frame[] = [];
    while (this.pending.length >= HEADER_BYTES) {
      const length = this.pending.readUInt32BE(5);
      if (length > MAX_FRAME_BYTES) throw new RangeError(`a frame of ${length} bytes`);
      if (this.pending.length < HEADER_BYTES + length) break;
      frames.push({
        type: this.pending.readUInt8(0),
        channel: this.pending.readUInt32BE(1),
        payload: this.pending.subarray(HEADER_BYTES, HEADER_BYTES + length),
      });
      this.pending = this.pending.subarray(HEADER_BYTES + length);
    }
    return frames;
  }
}

/** One named value; a name may come several times. */
export type Field = readonly [name: string, value: string | number | Uint8Array];

const LAST_FIELD = 'end';

/** A message: a word, then names and values, each as its length and its bytes. The last one shows that it is whole. */
export function encodeMessage(word: string, fields: readonly Field[]): Buffer {
  const strings = [word, ...fields.flat(), LAST_FIELD].map((each) =>
    each instanceof Uint8Array ? Buffer.from(each) : Buffer.from(String(each)),
  );
  return Buffer.concat(
    strings.flatMap((bytes) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** What a message holds. */
export interface Message {
  /** Absent in messages that are only names and values. */
  readonly word: string;
  all(name: string): readonly Buffer[];
  text(name: string): string | undefined;
  /** 0 when it is absent or no number. */
  number(name: string): number;
}

/** Reads a message. Throws `RangeError` when it is cut short. */
export function decodeMessage(payload: Buffer): Message {
  const strings: Buffer[] = [];
  for (let at = 0; at < payload.length; ) {
    if (at + 4 > payload.length) throw new RangeError('a message is cut short');
    const end = at + 4 + payload.readUInt32BE(at);
    if (end > payload.length) throw new RangeError('a message is cut short');
    strings.push(payload.subarray(at + 4, end));
    at = end;
  }
  if (strings.pop()?.toString() !== LAST_FIELD) throw new RangeError('a message is cut short');
  // A message with a word has an odd number of strings before its last.
  const word = strings.length % 2 === 1 ? (strings.shift()?.toString() ?? '') : '';
  const all = (name: string): Buffer[] =>
    strings.filter((_, index) => index % 2 === 1 && strings[index - 1]?.toString() === name);
  const text = (name: string): string | undefined => all(name)[0]?.toString('utf8');
  return { word, all, text, number: (name) => Number(text(name) ?? 0) || 0 };
}
