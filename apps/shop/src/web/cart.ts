// The cart: product ids and quantities in a cookie, so that any replica can answer and nothing need be stored.

/** Product id to quantity. */
export type Cart = ReadonlyMap<string, number>;

const NAME = 'cart';
/** A cookie of this many products stays well under 4 KiB. */
const MAX_PRODUCTS = 50;
const MAX_QUANTITY = 1000;
const MAX_AGE_SECONDS = 7 * 24 * 60 * 60;
const ENTRY = /^([a-z0-9-]{1,64}):(\d{1,4})$/;

/** Reads the cart out of a `Cookie` header; what does not belong there is left out. */
export function readCart(header: string | undefined): Cart {
  const cart = new Map<string, number>();
  const value = (header ?? '')
    .split(';')
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${NAME}=`));
  for (const part of (value ?? '').slice(NAME.length + 1).split('.')) {
    const [, id, quantity] = ENTRY.exec(part) ?? [];
    if (id !== undefined && Number(quantity) > 0) cart.set(id, Math.min(Number(quantity), MAX_QUANTITY));
  }
  return cart;
}

/** The `Set-Cookie` header that keeps the cart. */
export function writeCart(cart: Cart): string {
  const value = [...cart].map(([id, quantity]) => `${id}:${quantity}`).join('.');
  const age = cart.size === 0 ? 0 : MAX_AGE_SECONDS;
  return `${NAME}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${age}`;
}

/** The cart with `quantity` of a product; 0 takes it out. */
export function withQuantity(cart: Cart, id: string, quantity: number): Cart {
  const changed = new Map(cart);
  if (quantity <= 0) changed.delete(id);
  else if (changed.has(id) || changed.size < MAX_PRODUCTS) changed.set(id, Math.min(quantity, MAX_QUANTITY));
  return changed;
}

/** Pieces in the cart. */
export function cartCount(cart: Cart): number {
  return [...cart.values()].reduce((sum, quantity) => sum + quantity, 0);
}
