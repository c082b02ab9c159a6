import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EventParser, type ReceivedEvent } from './event-parser.ts';

const STREAM =
  ': connected\nid: 4.0\n\nevent: step\ndata: {"a":1}\n\n: keep-alive\n\nid: 5.0\nevent: step\ndata: {"b":\ndata: "ä"}\n\ndata: 7\nunknown: x\nretry\n\n';
const EVENTS: ReceivedEvent[] = [
  { id: '4.0', type: 'step', data: { a: 1 } },
  { id: '5.0', type: 'step', data: { b: 'ä' } },
  { id: '5.0', type: 'message', data: 7 },
];

it('reads the same events, however the stream is cut and whatever ends its lines', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = `${STREAM.replaceAll('\n', end)}`;
    fc.assert(
      fc.property(fc.array(fc.nat(text.length)), (cuts) => {
        const parser = new EventParser();
        const edges = [0, ...cuts.sort((a, b) => a - b), text.length];
        const events = edges.slice(1).flatMap((edge, index) => parser.push(text.slice(edges[index], edge)));
        // A lone CR at the very end cannot be told from half a CRLF until more comes.
        events.push(...parser.push(':'));
        expect(events).toEqual(EVENTS);
      }),
      { numRuns: 30 },
    );
  }
});

it('knows the id to resume from before the first event, and keeps the one it began with', () => {
  const parser = new EventParser('3.1');
  expect(parser.push(': connected\n\n')).toEqual([]);
  expect(parser.lastEventId).toBe('3.1');
  expect(parser.push('id: 9.0\n\n')).toEqual([]);
  expect(parser.lastEventId).toBe('9.0');
});

it('gives no event that is not complete', () => {
  expect(new EventParser().push('id: 1\ndata: {"a":1}\n')).toEqual([]);
});
