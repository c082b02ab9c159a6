// What a product is, here and in the answers of the catalog.

import { z } from 'zod';

/** An identifier that can stand in a URL. */
export const productId = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'must be lower-case letters, digits and inner hyphens');

/** What an editor may set. */
export const productDraft = z.strictObject({
  name: z.string().trim().min(1).max(120),
  description: z.string().trim().max(2000).default(''),
  /** Price of one, in cents. */
  priceCents: z.number().int().min(0).max(100_000_000),
  /** Pieces in the warehouse. Below zero: ordered and not there yet. */
  stock: z.number().int().min(-1_000_000).max(1_000_000),
});
/** See {@link productDraft}. */
export type ProductDraft = z.infer<typeof productDraft>;

/** A product as the catalog answers it. */
export const product = productDraft.extend({ id: productId, updatedAt: z.number().int() });
/** See {@link product}. */
export type Product = z.infer<typeof product>;

/** Answer of `GET /products`. */
export const productList = z.object({ products: z.array(product) });
