// The orders service: takes orders, stores them on a quorum of disks, and confirms them through an elected master.

import { errorMessage, systemClock } from '@heptad/core';
import { OrderMaster } from './orders/master.ts';
import { OrderStore } from './orders/order-store.ts';
import { placeOrder } from './orders/place.ts';
import { HttpProblem, type Routes } from './shared/http.ts';
import { openPlatform } from './shared/platform.ts';
import { runService, type ServiceContext } from './shared/run.ts';

const DEFAULT_LIST = 50;
const MAX_LIST = 200;
const CHECK_PAUSE_MS = 500;

await runService('orders', async (context) => {
  const { log, replica, stopping } = context;
  const platform = openPlatform('orders', log);
  const orders = new OrderStore(platform.storage);
  const { events, state } = platform;
  const master = new OrderMaster({ orders, events, state, replica, log, stopping });
  let reachable = false;
  storageReachable(orders, context).then(() => {
    reachable = true;
  });
  return {
    routes: routes(orders, master, replica),
    notReady: () => (reachable ? undefined : 'the storage nodes have not been reached yet'),
    close: async () => {
      await master.close();
      await platform.close();
    },
  };
});

function routes(orders: OrderStore, master: OrderMaster, replica: string): Routes {
  return {
    'POST /orders': async (request) => {
      const { order, created } = await placeOrder(orders, request);
      const headers = {
        location: `/orders/${order.id}`,
        ...(created ? {} : { 'idempotent-replayed': 'true' }),
      };
      return { status: 201, json: order, headers };
    },
    'GET /orders': async ({ url }) => {
      const limit = Number(url.searchParams.get('limit') ?? DEFAULT_LIST);
      if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIST) {
        throw new HttpProblem(400, 'INVALID_REQUEST', `limit must be a whole number from 1 to ${MAX_LIST}`);
      }
      return { status: 200, json: { orders: await orders.newest(limit) } };
    },
    'GET /orders/:id': async ({ params }) => {
      const id = params.id ?? '';
      const found = await orders.view(id);
      if (found === undefined) throw new HttpProblem(404, 'ORDER_NOT_FOUND', `there is no order "${id}"`);
      return { status: 200, json: found };
    },
    'GET /master': async () => {
      const { leader, known } = master.current;
      const { candidate = null, token = null } = (known ? leader : undefined) ?? {};
      // The token rises with each election: a master that was killed and came back under its own name is another one.
      return { status: 200, json: { master: candidate, token, known, answeredBy: replica } };
    },
  };
}

async function storageReachable(orders: OrderStore, { log, stopping }: ServiceContext): Promise<void> {
  while (!stopping.aborted) {
    try {
      await orders.check();
      return;
    } catch (error) {
      log.warn('storage cannot be reached yet', { error: errorMessage(error) });
      await systemClock.sleep(CHECK_PAUSE_MS, stopping).catch(() => undefined);
    }
  }
}
