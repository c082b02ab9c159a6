// The shop's events: topics and what they carry.

import { z } from 'zod';

/** An order is stored and waits for its confirmation. Carries {@link orderEvent}. */
export const ORDER_PLACED = 'order.placed';
/** The master has confirmed it. Carries {@link orderEvent}. */
export const ORDER_CONFIRMED = 'order.confirmed';
/** A product is new or has changed. Carries the product. */
export const PRODUCT_CHANGED = 'product.changed';

/** What {@link ORDER_PLACED} and {@link ORDER_CONFIRMED} carry. */
export const orderEvent = z.object({
  orderId: z.string(),
  totalCents: z.number().int(),
  items: z.array(z.object({ productId: z.string(), quantity: z.number().int().positive() })),
});
/** See {@link orderEvent}. */
export type OrderEvent = z.infer<typeof orderEvent>;
