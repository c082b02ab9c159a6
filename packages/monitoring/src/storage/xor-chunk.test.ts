import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChunk, XorChunk } from './xor-chunk.ts';

interface Pair {
  time: number;
  value: number;
}

function bitsOf(value: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16);
}

function encode(samples: readonly Pair[]): XorChunk {
  const [first, ...rest] = samples;
  if (first === undefined) throw new Error('no samples');
  const chunk = XorChunk.of(first.time, first.value);
  for (const sample of rest) chunk.append(sample.time, sample.value);
  return chunk;
}

function decode(bytes: Uint8Array, count: number): Pair[] {
  const out: Pair[] = [];
  readChunk(bytes, count, (time, value) => out.push({ time, value }));
  return out;
}

function expectSame(actual: readonly Pair[], expected: readonly Pair[]): void {
  expect(actual.map((s) => `${s.time} ${bitsOf(s.value)}`)).toEqual(
    expected.map((s) => `${s.time} ${bitsOf(s.value)}`),
  );
}

/** Doubles by their bits, so that subnormals, both zeros, infinities and NaN payloads all occur. */
const anyDouble = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((bits) => {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
});
const value = fc.oneof(
  anyDouble,
  fc.double(),
  fc.integer().map(Number),
  fc.constantFrom(0, -0, Infinity, -Infinity, NaN, Number.MAX_VALUE, Number.MIN_VALUE, 1, -1),
);
const gap = fc.oneof(
  fc.constant(15_000),
  fc.integer({ min: 1, max: 20_000 }),
  fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  fc.integer({ min: 1, max: 1_000_000_000_000 }),
);
const samples = fc
  .tuple(
    fc.integer({ min: 0, max: 2_000_000_000_000 }),
    fc.array(fc.tuple(gap, value), { minLength: 1, maxLength: 130 }),
  )
  .map(([begin, steps]) => {
    let time = begin;
    return steps.map(([step, v]) => {
      time += step;
      return { time, value: v };
    });
  });

describe('XorChunk', () => {
  it('gives back every bit of any samples', () => {
    fc.assert(
      fc.property(samples, (list) => {
        const chunk = encode(list);
        expect(chunk.count).toBe(list.length);
        expectSame(decode(chunk.toBytes(), chunk.count), list);
      }),
      { numRuns: 500 },
    );
  });

  it('can be taken up at any sample and goes on as if never stopped', () => {
    fc.assert(
      fc.property(samples, fc.nat(), (list, cut) => {
        const at = 1 + (cut % list.length);
        const first = encode(list.slice(0, at));
        const resumed = XorChunk.resume(first.toBytes(), first.count);
        for (const sample of list.slice(at)) resumed.append(sample.time, sample.value);
        expect(resumed.toBytes()).toEqual(encode(list).toBytes());
        expect(resumed.maxTime).toBe(list.at(-1)?.time);
      }),
      { numRuns: 300 },
    );
  });

  it('needs about a bit or two a sample when nothing changes', () => {
    const chunk = encode(
      Array.from({ length: 120 }, (_, i) => ({ time: 1_700_000_000_000 + i * 15_000, value: 42 })),
    );
    expect(chunk.size).toBeLessThan(50);
  });

  it('keeps a usual counter near two bytes a sample', () => {
    const chunk = encode(
      Array.from({ length: 120 }, (_, i) => ({ time: 1_700_000_000_000 + i * 15_000, value: 1000 + i * 37 })),
    );
    expect(chunk.size / 120).toBeLessThan(2.5);
  });

  it('refuses a chunk that ends too early', () => {
    const bytes = encode([
      { time: 1, value: 1 },
      { time: 2, value: 1.1 },
    ]).toBytes();
    expect(() => decode(bytes.slice(0, -4), 2)).toThrow(RangeError);
  });
});
