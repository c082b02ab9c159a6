// Taking an order: check it against the catalog, store it, answer. The same request twice is one order.

import { createHash } from 'node:crypto';
import { isHeptadError, systemClock, systemRandom } from '@heptad/core';
import { type Product, productList } from '../catalog/product.ts';
import { call } from '../shared/call.ts';
import { HttpProblem, type ServiceRequest } from '../shared/http.ts';
import type { Trace } from '../shared/trace.ts';
import { type Order, type OrderRequest, orderRequest, type StoredOrder } from './order.ts';
import { type OrderStore, toOrder } from './order-store.ts';

const MAX_IDEMPOTENCY_KEY = 255;

/** Takes an order; `created` is false when this request has been answered before. */
export async function placeOrder(
  orders: OrderStore,
  request: ServiceRequest,
): Promise<{ order: Order; created: boolean }> {
  const body = await request.json();
  const wanted = orderRequest.parse(body);
  const requestHash = sha256(JSON.stringify(wanted));
  const key = idempotencyKey(request);
  // A key always leads to the same id: two replicas that get the same request at the same time write the same order.
  const id = key === undefined ? systemRandom.uuid(systemClock.now()) : `k-${sha256(key).slice(0, 32)}`;
  if (key !== undefined) {
    const before = await orders.find(id);
    if (before !== undefined) return { order: await again(orders, before, requestHash), created: false };
  }
  const stored = { ...price(wanted, await lookUp(wanted, request.trace)), id, requestHash };
  await store(orders, stored);
  // What a quorum holds is what every later answer will say.
  const kept = key === undefined ? stored : ((await orders.find(id)) ?? stored);
  return { order: toOrder(kept, undefined), created: true };
}

async function again(orders: OrderStore, before: StoredOrder, requestHash: string): Promise<Order> {
  if (before.requestHash === requestHash) return toOrder(before, await orders.confirmation(before.id));
  throw new HttpProblem(
    422,
    'IDEMPOTENCY_KEY_REUSED',
    'this Idempotency-Key was used for a different order',
    'use a new key for each new order',
  );
}

async function lookUp(wanted: OrderRequest, trace: Trace): Promise<ReadonlyMap<string, Product>> {
  const ids = wanted.items.map((item) => item.productId).join(',');
  const { products } = productList.parse(await call('catalog', `/products?ids=${ids}`, { trace }));
  return new Map(products.map((product) => [product.id, product]));
}

function price(
  wanted: OrderRequest,
  products: ReadonlyMap<string, Product>,
): Omit<StoredOrder, 'id' | 'requestHash'> {
  const items = wanted.items.map(({ productId, quantity }) => {
    const product = products.get(productId);
    if (product === undefined) {
      throw new HttpProblem(422, 'PRODUCT_NOT_FOUND', `there is no product "${productId}"`);
    }
    if (product.stock < quantity) {
      const left = Math.max(0, product.stock);
      throw new HttpProblem(
        422,
        'OUT_OF_STOCK',
        `cannot order ${quantity} of "${product.name}": ${left} are left`,
        left > 0 ? `order ${left} or fewer` : 'choose another product',
      );
    }
    return { productId, name: product.name, priceCents: product.priceCents, quantity };
  });
  const totalCents = items.reduce((sum, item) => sum + item.priceCents * item.quantity, 0);
  return { customer: wanted.customer, items, totalCents, placedAt: systemClock.now() };
}

async function store(orders: OrderStore, stored: StoredOrder): Promise<void> {
  try {
    await orders.place(stored);
  } catch (error) {
    if (isHeptadError(error, 'INSUFFICIENT_SPACE')) {
      throw new HttpProblem(
        507,
        'INSUFFICIENT_SPACE',
        `cannot store the order: ${error.message}`,
        error.hint,
      );
    }
    if (!isHeptadError(error)) throw error;
    throw new HttpProblem(
      503,
      'ORDER_NOT_ACKNOWLEDGED',
      `the order was not stored on enough nodes: ${error.message}`,
      'send it again with the same Idempotency-Key; it will not be placed twice',
    );
  }
}

function idempotencyKey(request: ServiceRequest): string | undefined {
  const header = request.headers['idempotency-key'];
  const key = Array.isArray(header) ? header[0] : header;
  if (key === undefined || key === '') return undefined;
  if (key.length <= MAX_IDEMPOTENCY_KEY) return key;
  throw new HttpProblem(
    400,
    'INVALID_REQUEST',
    `an Idempotency-Key has at most ${MAX_IDEMPOTENCY_KEY} characters`,
  );
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
