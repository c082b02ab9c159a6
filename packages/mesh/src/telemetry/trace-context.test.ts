import { describe, expect, it } from 'vitest';
import { formatTraceparent, newTraceparent, parseTraceparent } from './trace-context.ts';

const id = '0af7651916cd43dd8448eb211c80319c';
const span = 'b7ad6b7169203331';

describe('traceparent', () => {
  it('parses and writes what W3C Trace Context allows', () => {
    expect(parseTraceparent(`00-${id}-${span}-01`)).toEqual({ traceId: id, spanId: span, flags: 1 });
    expect(parseTraceparent(`cc-${id}-${span}-01-what-the-future-will-be-like`)?.traceId).toBe(id);
    expect(formatTraceparent({ traceId: id, spanId: span, flags: 0 })).toBe(`00-${id}-${span}-00`);
  });

  it.each([
    undefined,
    '',
    `ff-${id}-${span}-01`,
    `00-${id}-${span}-01-more`,
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${id}-${'0'.repeat(16)}-01`,
    `00-${id.toUpperCase()}-${span}-01`,
    `00-${id}-${span}`,
    `00-${id}x-${span}-01`,
  ])('refuses %s', (header) => {
    expect(parseTraceparent(header)).toBeUndefined();
  });

  it('makes valid, sampled, different ones', () => {
    const [a, b] = [newTraceparent(), newTraceparent()];
    expect(parseTraceparent(formatTraceparent(a))).toEqual(a);
    expect(a.flags).toBe(1);
    expect(a.traceId).not.toBe(b.traceId);
  });
});
