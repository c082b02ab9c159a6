// Orders in the platform's object storage, which takes them while the platform's server is down.
//
//   shop-orders         <id>                the order; written once
//   shop-order-times    <time>-<id>         newest first, for lists
//   shop-order-outbox   <id>                orders that wait for their confirmation; the master empties it
//   shop-confirmations  <id>                the confirmation
//
// Nothing is ever changed in place, so no two writers can undo each other's work, and every step may be repeated.

import { isHeptadError, type ObjectStore } from '@heptad/core';
import { type Confirmation, confirmation, type Order, type StoredOrder, storedOrder } from './order.ts';

const ORDERS = 'shop-orders';
const TIMES = 'shop-order-times';
const OUTBOX = 'shop-order-outbox';
const CONFIRMATIONS = 'shop-confirmations';
/** The year 2286; times count down from here, so that the newest sorts first. */
const END_OF_TIME_MS = 9_999_999_999_999;

/** See the head of this file. */
export class OrderStore {
  readonly #objects: ObjectStore;

  constructor(objects: ObjectStore) {
    this.#objects = objects;
  }

  /** Resolves when a quorum of storage nodes has the order, its place in the list and its outbox entry on disk. */
  async place(order: StoredOrder): Promise<void> {
    const consistency = 'strong';
    // The entries that lead to the order come first: an order nobody would ever confirm must not exist.
    await Promise.all([
      this.#objects.put(OUTBOX, order.id, String(order.placedAt), { consistency }),
      this.#objects.put(TIMES, timeKey(order), order.id, { consistency }),
    ]);
    await this.#objects.put(ORDERS, order.id, JSON.stringify(order), { consistency });
  }

  async find(id: string): Promise<StoredOrder | undefined> {
    return storedOrder.optional().parse(await this.#read(ORDERS, id));
  }

  /** The order with its status. */
  async view(id: string): Promise<Order | undefined> {
    const [found, confirmed] = await Promise.all([this.find(id), this.confirmation(id)]);
    return found === undefined ? undefined : toOrder(found, confirmed);
  }

  /** The newest orders, newest first. */
  async newest(limit: number): Promise<Order[]> {
    const ids = new Set<string>();
    // An order whose storing was cut short has a place in the list and may not exist: look a little further.
    for await (const { key } of this.#objects.list(TIMES, { limit: limit * 2 })) ids.add(key.slice(14));
    const orders = await Promise.all([...ids].map((id) => this.view(id)));
    return orders.flatMap((found) => found ?? []).slice(0, limit);
  }

  /** Ids that wait for their confirmation, with the time they were placed. */
  async *outbox(): AsyncIterable<{ id: string; since: number }> {
    for await (const { key, lastModified } of this.#objects.list(OUTBOX))
      yield { id: key, since: lastModified };
  }

  /** Resolves when the storage nodes answer. */
  async check(): Promise<void> {
    for await (const _ of this.#objects.list(OUTBOX, { limit: 1 })) return;
  }

  async confirmation(id: string): Promise<Confirmation | undefined> {
    return confirmation.optional().parse(await this.#read(CONFIRMATIONS, id));
  }

  async confirm(value: Confirmation): Promise<void> {
    await this.#objects.put(CONFIRMATIONS, value.orderId, JSON.stringify(value));
  }

  async removeFromOutbox(id: string): Promise<void> {
    await this.#objects.delete(OUTBOX, id);
  }

  async #read(bucket: string, key: string): Promise<unknown> {
    try {
      const { body } = await this.#objects.get(bucket, key);
      return JSON.parse(Buffer.from(body).toString('utf8'));
    } catch (error) {
      if (isHeptadError(error, 'OBJECT_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

/** The order as the service answers it. */
export function toOrder(stored: StoredOrder, confirmed: Confirmation | undefined): Order {
  const { requestHash: _, ...rest } = stored;
  return confirmed === undefined
    ? { ...rest, status: 'placed' }
    : { ...rest, status: 'confirmed', confirmedAt: confirmed.confirmedAt };
}

function timeKey(order: StoredOrder): string {
  return `${String(END_OF_TIME_MS - order.placedAt).padStart(13, '0')}-${order.id}`;
}
