import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeMessage, encodeFrame, encodeMessage, FRAME, FrameReader, MAX_FRAME_BYTES } from './frames.ts';

describe('frames', () => {
  it('arrive whole and in order however the stream is cut', () => {
    const frame = fc.record({
      type: fc.integer({ min: 1, max: 9 }),
      channel: fc.nat(),
      payload: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), fc.integer({ min: 1, max: 30 }), (frames, step) => {
        const stream = Buffer.concat(
          frames.map((each) => encodeFrame(each.type, each.channel, each.payload)),
        );
        const reader = new FrameReader();
        const seen = [];
        for (let at = 0; at < stream.length; at += step)
          seen.push(...reader.push(stream.subarray(at, at + step)));
        expect(seen.map(({ type, channel, payload }) => ({ type, channel, payload: [...payload] }))).toEqual(
          frames.map(({ type, channel, payload }) => ({ type, channel, payload: [...payload] })),
        );
      }),
    );
  });

  it('refuse a length that no frame has', () => {
    const header = encodeFrame(FRAME.stdout, 1, Buffer.alloc(0));
    header.writeUInt32BE(MAX_FRAME_BYTES + 1, 5);
    expect(() => new FrameReader().push(header)).toThrow(RangeError);
  });
});

describe('messages', () => {
  it('keep names, values and bytes, and names that come several times', () => {
    const message = decodeMessage(
      encodeMessage('main', [
        ['argument', 'a'],
        ['argument', 'é\0"'],
        ['channel', 7],
        ['content', Uint8Array.of(0, 255)],
      ]),
    );
    expect(message.word).toBe('main');
    expect(message.all('argument').map(String)).toEqual(['a', 'é\0"']);
    expect(message.number('channel')).toBe(7);
    expect([...(message.all('content')[0] ?? [])]).toEqual([0, 255]);
    expect(message.text('missing')).toBeUndefined();
  });

  it('that are cut short are refused at every length', () => {
    const whole = encodeMessage('main', [['argument', 'abc']]);
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => decodeMessage(whole.subarray(0, length))).toThrow(RangeError);
    }
  });
});
