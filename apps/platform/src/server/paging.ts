// Lists over the API: `?limit=&cursor=` where the cursor is the last name seen.

import { z } from 'zod';

/** Query of every list. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(500),
  cursor: z.string().optional(),
});

/** One page of named items in name order. */
export function page<T extends { readonly name: string }>(
  items: readonly T[],
  query: z.infer<typeof pageQuery>,
): { items: T[]; nextCursor?: string } {
  const sorted = [...items].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const { cursor } = query;
  const from = cursor === undefined ? 0 : sorted.findIndex((item) => item.name > cursor);
  if (from < 0) return { items: [] };
  const part = sorted.slice(from, from + query.limit);
  const last = part.at(-1);
  return from + part.length < sorted.length && last !== undefined
    ? { items: part, nextCursor: last.name }
    : { items: part };
}
