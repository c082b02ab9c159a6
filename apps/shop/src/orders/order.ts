// What an order is.

import { z } from 'zod';
import { productId } from '../catalog/product.ts';

/** Different products in one order; more would not fit a request. */
const MAX_ITEMS = 100;
/** Pieces of one product. */
const MAX_QUANTITY = 1000;

/** What a customer sends. */
export const orderRequest = z
  .strictObject({
    items: z
      .array(z.strictObject({ productId, quantity: z.number().int().min(1).max(MAX_QUANTITY) }))
      .min(1, 'must have at least one item')
      .max(MAX_ITEMS),
    customer: z.string().trim().max(200).default(''),
  })
  .refine(({ items }) => new Set(items.map((item) => item.productId)).size === items.length, {
    message: 'names a product twice',
    path: ['items'],
  });
/** See {@link orderRequest}. */
export type OrderRequest = z.infer<typeof orderRequest>;

/** An order as it is stored; it never changes. */
export const storedOrder = z.strictObject({
  id: z.string(),
  customer: z.string(),
  items: z.array(
    z.strictObject({
      productId: z.string(),
      name: z.string(),
      priceCents: z.number().int(),
      quantity: z.number().int(),
    }),
  ),
  totalCents: z.number().int(),
  placedAt: z.number().int(),
  /** SHA-256 of the request, to tell a repeated request from another one with the same Idempotency-Key. */
  requestHash: z.string(),
});
/** See {@link storedOrder}. */
export type StoredOrder = z.infer<typeof storedOrder>;

/** A confirmation as it is stored. */
export const confirmation = z.strictObject({
  orderId: z.string(),
  confirmedAt: z.number().int(),
  /** Replica that was the master. */
  by: z.string(),
  /** Its fencing token. */
  token: z.number().int(),
});
/** See {@link confirmation}. */
export type Confirmation = z.infer<typeof confirmation>;

/** An order as the service answers it. */
export const order = storedOrder
  .omit({ requestHash: true })
  .extend({ status: z.enum(['placed', 'confirmed']), confirmedAt: z.number().int().optional() });
/** See {@link order}. */
export type Order = z.infer<typeof order>;

/** Answer of `GET /orders`. */
export const orderList = z.object({ orders: z.array(order) });
