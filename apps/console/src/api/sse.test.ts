import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SseParser } from './sse.ts';

describe('SseParser', () => {
  it('reads fields, comments, multi-line data and ids that stay', () => {
    const parser = new SseParser();
    expect(
      parser.push(': hello\n\nid: 7\nevent: step\ndata: {"a":1}\ndata:b\n\ndata\n\nretry: 1500\nid: 9\n\n'),
    ).toEqual([
      { type: 'step', data: '{"a":1}\nb', id: '7' },
      { type: 'message', data: '', id: '7' },
    ]);
    expect([parser.lastEventId, parser.retryMs]).toEqual(['9', 1500]);
  });

  it('accepts LF, CR and CRLF, a byte order mark, and ignores an id with NUL', () => {
    const parser = new SseParser();
    expect(
      parser.push('\uFEFFdata: a\r\rdata: b\r\n\r\nid: x\0y\ndata: c\n\n').map((event) => event.data),
    ).toEqual(['a', 'b', 'c']);
    expect(parser.lastEventId).toBe('');
  });

  it('gives the same events however the stream is cut into pieces', () => {
    const line = fc.constantFrom(
      'data: x',
      'data: {"k":"v"}',
      'event: step',
      'id: 5',
      ': note',
      'retry: 10',
      '',
      'data:',
    );
    const end = fc.constantFrom('\n', '\r\n', '\r');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(line, end), { maxLength: 40 }),
        fc.array(fc.nat(400), { maxLength: 20 }),
        (lines, cuts) => {
          const text = `${lines.map((pair) => pair.join('')).join('')}\n\nx`;
          const whole = new SseParser().push(text);
          const parser = new SseParser();
          const places = [...new Set(cuts.map((cut) => cut % text.length))].sort((a, b) => a - b);
          const pieces = [0, ...places].map((from, index) =>
            text.slice(from, [...places, text.length][index]),
          );
          expect(pieces.flatMap((piece) => parser.push(piece))).toEqual(whole);
        },
      ),
    );
  });

  it('gives up on a line without end', () => {
    const parser = new SseParser();
    expect(() => parser.push('x'.repeat(5_000_000))).toThrow(/without end/);
  });
});
