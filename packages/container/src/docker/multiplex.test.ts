import { isHeptadError } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameDecoder } from './multiplex.ts';

describe('FrameDecoder', () => {
  it('finds the same frames however the bytes are cut', () => {
    const frames = fc.array(
      fc.record({
        stream: fc.constantFrom('stdout' as const, 'stderr' as const),
        payload: fc.uint8Array({ minLength: 1, maxLength: 200 }),
      }),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }), (sent, cuts) => {
        const bytes = Buffer.concat(sent.map(({ stream, payload }) => encodeFrame(stream, payload)));
        const decoder = new FrameDecoder();
        const got: { stream: string; payload: Uint8Array }[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const cut = cuts[turn % cuts.length] ?? 1;
          got.push(...decoder.push(bytes.subarray(at, at + cut)));
          at += cut;
        }
        expect(got.map(({ stream, payload }) => [stream, [...payload]])).toEqual(
          sent.map(({ stream, payload }) => [stream, [...payload]]),
        );
        expect(decoder.complete).toBe(true);
      }),
    );
  });

  it('skips empty frames and says when the bytes end within one', () => {
    const decoder = new FrameDecoder();
    expect(decoder.push(encodeFrame('stdout', new Uint8Array()))).toEqual([]);
    expect(decoder.complete).toBe(true);
    decoder.push(encodeFrame('stderr', Buffer.from('abc')).subarray(0, 9));
    expect(decoder.complete).toBe(false);
  });

  it('refuses the raw output of a terminal instead of waiting for gigabytes', () => {
    try {
      new FrameDecoder().push(Buffer.from('hello from a terminal'));
      expect.unreachable();
    } catch (error) {
      expect(isHeptadError(error, 'INVALID_STREAM')).toBe(true);
    }
  });
});
