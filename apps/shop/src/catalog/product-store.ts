// Products in the platform's object storage. All replicas of the catalog see the same.

import { isHeptadError, type ObjectStore, systemClock } from '@heptad/core';
import { z } from 'zod';
import { HttpProblem } from '../shared/http.ts';
import { type Product, type ProductDraft, product } from './product.ts';

const BUCKET = 'shop-products';
/** Orders whose effect on the stock a product remembers, so that an event that comes again changes nothing. Events come
 * again within minutes; this many orders of one product take longer. */
const REMEMBERED_ORDERS = 500;
const MAX_PRODUCTS = 1000;
/** Writers of one product that may come first before we give up. */
const MAX_ATTEMPTS = 20;

const stored = z.strictObject({ product, applied: z.array(z.string()) });
type Stored = z.infer<typeof stored>;

/** See the head of this file. */
export class ProductStore {
  readonly #objects: ObjectStore;

  constructor(objects: ObjectStore) {
    this.#objects = objects;
  }

  /** All products by name. */
  async list(): Promise<Product[]> {
    const ids: string[] = [];
    for await (const { key } of this.#objects.list(BUCKET, { limit: MAX_PRODUCTS })) ids.push(key);
    const found = await Promise.all(ids.map((id) => this.find(id)));
    return found.flatMap((entry) => entry ?? []).sort((a, b) => a.name.localeCompare(b.name));
  }

  async find(id: string): Promise<Product | undefined> {
    return (await this.#read(id))?.stored.product;
  }

  /** Adds a product; answers `undefined` when there is one of this id. */
  async add(id: string, draft: ProductDraft): Promise<Product | undefined> {
    const added = { ...draft, id, updatedAt: systemClock.now() };
    const body = JSON.stringify({ product: added, applied: [] } satisfies Stored);
    try {
      await this.#objects.put(BUCKET, id, body, { ifNoneMatch: '*' });
      return added;
    } catch (error) {
      if (isHeptadError(error, 'PRECONDITION_FAILED')) return undefined;
      throw error;
    }
  }

  /** Adds or replaces a product. */
  async replace(id: string, draft: ProductDraft): Promise<Product> {
    const added = await this.add(id, draft);
    if (added !== undefined) return added;
    const replaced = await this.#change(id, (before) => ({
      ...before,
      product: { ...draft, id, updatedAt: systemClock.now() },
    }));
    if (replaced === undefined) throw new HttpProblem(409, 'CONFLICT', `product ${id} was removed just now`);
    return replaced.product;
  }

  /** Takes `quantity` pieces out of stock for an order, once however often it is asked; `undefined`: no such product. */
  async take(id: string, orderId: string, quantity: number): Promise<Product | undefined> {
    const changed = await this.#change(id, (before) =>
      before.applied.includes(orderId)
        ? before
        : {
            product: {
              ...before.product,
              stock: before.product.stock - quantity,
              updatedAt: systemClock.now(),
            },
            applied: [...before.applied, orderId].slice(-REMEMBERED_ORDERS),
          },
    );
    return changed?.product;
  }

  // Compare-and-set until nobody comes between: no update is lost, whichever replica makes it.
  async #change(id: string, change: (before: Stored) => Stored): Promise<Stored | undefined> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const found = await this.#read(id);
      if (found === undefined) return undefined;
      const after = change(found.stored);
      if (after === found.stored) return after;
      try {
        await this.#objects.put(BUCKET, id, JSON.stringify(after), { ifMatch: found.etag });
        return after;
      } catch (error) {
        if (!isHeptadError(error, 'PRECONDITION_FAILED') && !isHeptadError(error, 'CONFLICT')) throw error;
      }
    }
    throw new HttpProblem(409, 'CONFLICT', `product ${id} is being changed by too many others`, 'try again');
  }

  async #read(id: string): Promise<{ stored: Stored; etag: string } | undefined> {
    try {
      const { body, info } = await this.#objects.get(BUCKET, id);
      return { stored: stored.parse(JSON.parse(Buffer.from(body).toString('utf8'))), etag: info.etag };
    } catch (error) {
      if (isHeptadError(error, 'OBJECT_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}
