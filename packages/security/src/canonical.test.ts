import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from './canonical.ts';

describe('canonical JSON', () => {
  it('sorts members by UTF-16 code units at every depth, as RFC 8785 shows', () => {
    expect(canonicalJson({ b: [{ z: 1, a: null }], a: 'x\u20ac', '\u{1f600}': 1, '\ufb33': 2 })).toBe(
      '{"a":"x€","b":[{"a":null,"z":1}],"\u{1f600}":1,"\ufb33":2}',
    );
    expect(canonicalJson({ n: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27] })).toBe(
      '{"n":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
    );
  });

  it('is one text per value, and that text means the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5, stringUnit: 'grapheme' }), (value) => {
        const text = canonicalJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
    );
  });

  it('refuses what has no one text: lone surrogates, NaN, cycles', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    for (const bad of [{ a: '\ud800' }, Number.NaN, cycle, { f: () => 1 }])
      expect(() => canonicalJson(bad)).toThrow();
  });
});
