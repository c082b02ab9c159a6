import { systemClock, systemRandom } from '@heptad/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guardedSuccessor, isTag, TagSource, tagTimeMs, ZERO_TAG } from './tag.ts';
import { compareKeys } from './version.ts';

const tags = fc
  .tuple(fc.bigInt({ min: 0n, max: 2n ** 60n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
  .map(([time, writer]) => `${time.toString(16).padStart(16, '0')}.${writer.toString(16).padStart(16, '0')}`);

describe('tags', () => {
  it('are later than everything seen and given before, whatever the clock says', () => {
    fc.assert(
      fc.property(fc.array(tags), fc.array(fc.integer({ min: 0, max: 2 ** 44 })), (seen, times) => {
        let now = 0;
        const clock = Object.assign(Object.create(systemClock), { now: () => now });
        const source = new TagSource(clock, systemRandom);
        let last = ZERO_TAG;
        seen.forEach((tag, at) => {
          now = times[at] ?? 0;
          const drawn = source.next(tag);
          expect(isTag(drawn)).toBe(true);
          expect(drawn > tag && drawn > last).toBe(true);
          last = drawn;
        });
      }),
    );
  });

  it('carry the wall time', () => {
    const clock = Object.assign(Object.create(systemClock), { now: () => 1_767_225_600_123 });
    expect(tagTimeMs(new TagSource(clock, systemRandom).next())).toBe(1_767_225_600_123);
  });

  it('put a conditional write after what it saw and before every ordinary write that did not see it', () => {
    fc.assert(
      fc.property(tags, (seen) => {
        const clock = Object.assign(Object.create(systemClock), { now: () => 0 });
        const guarded = guardedSuccessor(seen);
        expect(guarded > seen).toBe(true);
        expect(new TagSource(clock, systemRandom).next(seen) > guarded).toBe(true);
      }),
    );
  });
});

describe('compareKeys', () => {
  it('orders like the bytes of UTF-8', () => {
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom('a', 'é', '\uffee', '\u{1f34e}', '\ud7ff'),
        fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
      ),
    });
    fc.assert(
      fc.property(text, text, (a, b) => {
        const expected = Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(Math.sign(compareKeys(a, b))).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });
});
