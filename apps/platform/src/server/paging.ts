// Lists over the API: `?limit=&cursor=` where the cursor is the last name seen.

import { z } from 'zod';

/** Query of every list. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(500),
  cursor: z.string().optional(),
});

/** A query of a list. */
export type PageQuery = z.infer<typeof pageQuery>;

/** A page, and where the next one begins. */
export interface Page<T> {
  readonly items: T[];
  readonly nextCursor?: string;
}

/** One page of named items in name order. */
export function page<T extends { readonly name: string }>(items: readonly T[], query: PageQuery): Page<T> {
  return pageBy(items, (item) => item.name, query);
}

/** One page of items in the order of a unique text of theirs. */
export function pageBy<T>(items: readonly T[], keyOf: (item: T) => string, query: PageQuery): Page<T> {
  const { cursor, limit } = query;
  const sorted = items
    .map((item) => ({ key: keyOf(item), item }))
    .filter(({ key }) => cursor === undefined || key > cursor)
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const part = sorted.slice(0, limit);
  const last = part.at(-1);
  const shown = part.map(({ item }) => item);
  return sorted.length > part.length && last !== undefined
    ? { items: shown, nextCursor: last.key }
    : { items: shown };
}
