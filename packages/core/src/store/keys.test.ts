// The order of keys is the order of their UTF-8 bytes, for every text.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareKeys, inKeyRange, lowerBound } from './keys.ts';

const text = fc.string({ unit: 'binary', maxLength: 6 });

describe('compareKeys', () => {
  it('agrees with comparing the bytes', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { numRuns: 2000 },
    );
  });

  it('lowerBound finds where a key stands or would stand', () => {
    fc.assert(
      fc.property(fc.array(text), text, (keys, key) => {
        const sorted = [...keys].sort(compareKeys);
        const index = lowerBound(sorted, key);
        expect(sorted.slice(0, index).every((other) => compareKeys(other, key) < 0)).toBe(true);
        expect(sorted.slice(index).every((other) => compareKeys(other, key) >= 0)).toBe(true);
      }),
    );
  });

  it('a prefix is the range from it to the next text that does not begin with it', () => {
    expect(inKeyRange('/a/b', { key: '/a/', prefix: true })).toBe(true);
    expect(inKeyRange('/a', { key: '/a/', prefix: true })).toBe(false);
    expect(inKeyRange('b', { key: 'a', end: 'b' })).toBe(false);
    expect(inKeyRange('a', { key: 'a', end: 'b' })).toBe(true);
  });
});
