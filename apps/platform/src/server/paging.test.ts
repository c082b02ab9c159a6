import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { page, pageQuery } from './paging.ts';

describe('pages', () => {
  it('together are the list in name order, each name once, whatever the size', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string()), fc.integer({ min: 1, max: 7 }), (names, limit) => {
        const items = names.map((name) => ({ name }));
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const part = page(items, cursor === undefined ? { limit } : { limit, cursor });
          expect(part.items.length).toBeLessThanOrEqual(limit);
          seen.push(...part.items.map(({ name }) => name));
          cursor = part.nextCursor;
        } while (cursor !== undefined);
        expect(seen).toEqual([...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
      }),
    );
  });

  it('go on after a name that is gone meanwhile', () => {
    const items = ['a', 'c', 'd'].map((name) => ({ name }));
    expect(page(items, { limit: 1, cursor: 'b' })).toEqual({ items: [{ name: 'c' }], nextCursor: 'c' });
    expect(page(items, { limit: 10, cursor: 'z' })).toEqual({ items: [] });
  });
});

it('has a limit from 1 to 1000', () => {
  expect(pageQuery.parse({})).toEqual({ limit: 500 });
  expect(pageQuery.parse({ limit: '7', cursor: 'a' })).toEqual({ limit: 7, cursor: 'a' });
  for (const limit of ['0', '1001', '1.5', 'x']) expect(pageQuery.safeParse({ limit }).success).toBe(false);
});
