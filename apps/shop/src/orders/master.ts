// The order master: one replica, elected by a lease, confirms what was placed. When it dies another takes over.
//
// Correctness does not rest on there being one: confirming twice is the same as once, events carry ids, and the
// consumers know what they have done. The lease only spares the work.

import {
  Election,
  type EventBus,
  errorMessage,
  type Leader,
  type Leadership,
  type StateStore,
  systemClock,
} from '@heptad/core';
import { ORDER_CONFIRMED, ORDER_PLACED, type OrderEvent } from '../shared/events.ts';
import type { Logger } from '../shared/log.ts';
import type { StoredOrder } from './order.ts';
import type { OrderStore } from './order-store.ts';

/** What an {@link OrderMaster} works with. */
export interface OrderMasterOptions {
  readonly orders: OrderStore;
  readonly events: EventBus;
  readonly state: StateStore;
  readonly replica: string;
  readonly log: Logger;
  readonly stopping: AbortSignal;
}

/** A killed master is replaced after this long. */
const LEASE_TTL_MS = 4_000;
const SCAN_PAUSE_MS = 500;
const RETRY_PAUSE_MS = 1_000;
/** An outbox entry without an order, so old, belongs to a request that was cut off before it stored the order; any
 * request has long ended by then. */
const ABANDONED_MS = 10 * 60 * 1000;

/** Takes part in the election and does the master's work while elected. */
export class OrderMaster {
  readonly #options: OrderMasterOptions;
  readonly #election: Election;
  readonly #running: Promise<unknown>;
  #leader: Leader | undefined;
  #reachable = false;

  constructor(options: OrderMasterOptions) {
    this.#options = options;
    const { state: store, replica: candidate } = options;
    this.#election = new Election({ store, name: 'orders-master', candidate, ttlMs: LEASE_TTL_MS });
    this.#running = Promise.all([this.#lead(), this.#watch()]);
  }

  /** Who is the master, as far as this replica knows. */
  get current(): { leader: Leader | undefined; known: boolean } {
    return { leader: this.#leader, known: this.#reachable };
  }

  /** Resolves when it has stepped down after `stopping`. */
  async close(): Promise<void> {
    await this.#running;
  }

  async #lead(): Promise<void> {
    const { stopping, log, replica } = this.#options;
    while (!stopping.aborted) {
      try {
        const leadership = await this.#election.campaign(stopping);
        log.info('elected order master', { master: replica, token: leadership.token });
        await this.#serve(leadership);
        await leadership.resign();
        log.info('no longer order master', { master: replica, token: leadership.token });
      } catch (error) {
        if (stopping.aborted) return;
        log.warn('order master', { error: errorMessage(error) });
        await this.#pause(RETRY_PAUSE_MS, stopping);
      }
    }
  }

  async #serve(leadership: Leadership): Promise<void> {
    const over = AbortSignal.any([leadership.lost, this.#options.stopping]);
    while (!over.aborted) {
      try {
        for await (const { id, since } of this.#options.orders.outbox()) {
          if (over.aborted) return;
          await this.#confirm(id, since, leadership.token);
        }
      } catch (error) {
        this.#options.log.warn('cannot confirm orders now', { error: errorMessage(error) });
      }
      await this.#pause(SCAN_PAUSE_MS, over);
    }
  }

  // Each step may be repeated, and the entry leaves the outbox last: whoever dies in between, the next one does all of
  // it again.
  async #confirm(id: string, since: number, token: number): Promise<void> {
    const { orders, events, replica, log } = this.#options;
    const order = await orders.find(id);
    if (order === undefined) {
      if (systemClock.now() - since > ABANDONED_MS) await orders.removeFromOutbox(id);
      return;
    }
    const data = orderEventOf(order);
    await events.publish(ORDER_PLACED, { key: id, id: `placed-${id}`, data });
    if ((await orders.confirmation(id)) === undefined) {
      await orders.confirm({ orderId: id, confirmedAt: systemClock.now(), by: replica, token });
    }
    await events.publish(ORDER_CONFIRMED, { key: id, id: `confirmed-${id}`, data });
    await orders.removeFromOutbox(id);
    log.info('order confirmed', { order: id, token });
  }

  async #watch(): Promise<void> {
    const { stopping } = this.#options;
    while (!stopping.aborted) {
      try {
        for await (const leader of this.#election.observe(stopping)) {
          this.#leader = leader;
          this.#reachable = true;
        }
      } catch {
        // The server is away; the watch begins again when it is back.
      }
      this.#reachable = false;
      await this.#pause(RETRY_PAUSE_MS, stopping);
    }
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await systemClock.sleep(ms, signal).catch(() => undefined);
  }
}

function orderEventOf(order: StoredOrder): OrderEvent {
  const items = order.items.map(({ productId, quantity }) => ({ productId, quantity }));
  return { orderId: order.id, totalCents: order.totalCents, items };
}
