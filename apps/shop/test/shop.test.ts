// The shop as its users see it, with the faults it must survive.
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { product } from '../src/catalog/product.ts';
import { type Order, orderList, order as orderSchema } from '../src/orders/order.ts';
import { eventually, type Replica, TestShop } from './support/shop.ts';

const masterAnswer = z.object({ master: z.string().nullable() });
const apples = { items: [{ productId: 'apple-crate', quantity: 2 }], customer: 'Ada' };

async function json(url: string, init?: RequestInit): Promise<unknown> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return await response.json();
}

async function orderIn(response: Response): Promise<Order> {
  return orderSchema.parse(await response.json());
}

async function orderFrom(replica: Replica, id: string): Promise<Order> {
  return orderSchema.parse(await json(`${replica.url}/orders/${id}`));
}

function place(orders: Replica, body: unknown, key?: string): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    ...(key === undefined ? {} : { 'idempotency-key': key }),
  };
  return fetch(`${orders.url}/orders`, { method: 'POST', headers, body: JSON.stringify(body) });
}

async function confirmed(orders: Replica, id: string): Promise<void> {
  await eventually(async () => (await orderFrom(orders, id)).status === 'confirmed', `order ${id} confirmed`);
}

async function stockOf(catalog: Replica, id: string): Promise<number> {
  return product.parse(await json(`${catalog.url}/products/${id}`)).stock;
}

describe('the shop', () => {
  let shop: TestShop;
  let catalog: Replica;
  let orders: Replica[];
  let web: Replica;
  const orderAt = (at: number): Replica => {
    const replica = orders[at];
    if (replica === undefined) throw new Error(`no orders replica ${at}`);
    return replica;
  };

  beforeAll(async () => {
    shop = await TestShop.start();
    catalog = await shop.service('catalog', 'catalog-0');
    orders = [await shop.service('orders', 'orders-0'), await shop.service('orders', 'orders-1')];
    web = await shop.service('web', 'web-0');
  });

  afterAll(async () => {
    await shop?.[Symbol.asyncDispose]();
  });

  it('sells: a placed order is confirmed by the master and taken out of stock once', async () => {
    const before = await stockOf(catalog, 'apple-crate');
    const response = await place(orderAt(0), apples);
    expect(response.status).toBe(201);
    const order = await orderIn(response);
    expect(order).toMatchObject({ status: 'placed', totalCents: 4980, customer: 'Ada' });
    // Another replica sees it too.
    await confirmed(orderAt(1), order.id);
    await eventually(
      async () => (await stockOf(catalog, 'apple-crate')) === before - 2,
      'stock reduced by two',
    );
    const { orders: list } = orderList.parse(await json(`${orderAt(1).url}/orders`));
    expect(list[0]?.id).toBe(order.id);
  });

  it('answers the same order for the same Idempotency-Key, and refuses the key for another one', async () => {
    const first = await place(orderAt(0), apples, 'key-1');
    const second = await place(orderAt(1), apples, 'key-1');
    expect((await orderIn(second)).id).toBe((await orderIn(first)).id);
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    const other = { items: [{ productId: 'olive-oil', quantity: 1 }] };
    const refused = await place(orderAt(0), other, 'key-1');
    expect(refused.status).toBe(422);
    expect(await refused.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it('refuses orders that cannot be, and says why', async () => {
    const cases: [unknown, number, RegExp][] = [
      [{ items: [] }, 400, /at least one item/],
      [{ items: [{ productId: 'apple-crate', quantity: 0 }] }, 400, /quantity/],
      [{ items: [{ productId: 'no-such-thing', quantity: 1 }] }, 422, /no product .*no-such-thing/],
      [{ items: [{ productId: 'cast-iron-pan', quantity: 999 }] }, 422, /are left/],
      [{ items: [apples.items[0], apples.items[0]] }, 400, /twice/],
    ];
    for (const [body, status, reason] of cases) {
      const response = await place(orderAt(0), body);
      expect([response.status, await response.text()]).toEqual([status, expect.stringMatching(reason)]);
    }
    expect((await fetch(`${orderAt(0).url}/orders`, { method: 'POST', body: '{' })).status).toBe(400);
    expect((await fetch(`${orderAt(0).url}/orders/nope`)).status).toBe(404);
    expect((await fetch(`${orderAt(0).url}/orders`, { method: 'DELETE' })).status).toBe(405);
  });

  it('lets products be added and changed', async () => {
    const draft = { name: 'Walnuts', description: 'One kilo.', priceCents: 1190, stock: 3 };
    const headers = { 'content-type': 'application/json' };
    const post = () =>
      fetch(`${catalog.url}/products`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ id: 'walnuts', ...draft }),
      });
    expect((await post()).status).toBe(201);
    expect((await post()).status).toBe(409);
    const body = JSON.stringify({ ...draft, stock: 7 });
    await json(`${catalog.url}/products/walnuts`, { method: 'PUT', headers, body });
    expect(await stockOf(catalog, 'walnuts')).toBe(7);
  });

  it('shows pages that work without scripts, from product to order', async () => {
    const home = await (await fetch(web.url)).text();
    expect(home).toContain('Crate of apples');
    expect(home).not.toContain('<script');
    const form = (fields: Record<string, string>, cookie = '') => ({
      method: 'POST',
      redirect: 'manual' as const,
      headers: { cookie },
      body: new URLSearchParams(fields),
    });
    const added = await fetch(`${web.url}/cart/add`, form({ productId: 'forest-honey', quantity: '3' }));
    expect(added.status).toBe(303);
    const cookie = (added.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
    const cart = await (await fetch(`${web.url}/cart`, { headers: { cookie } })).text();
    expect(cart).toContain('€29.40');
    const orderKey = /name="orderKey" value="([0-9a-f]+)"/.exec(cart)?.[1] ?? '';
    const customer = '<b>Eve</b>';
    const placed = await fetch(`${web.url}/orders`, form({ orderKey, customer }, cookie));
    const again = await fetch(`${web.url}/orders`, form({ orderKey, customer }, cookie));
    expect(placed.status).toBe(303);
    expect(again.headers.get('location')).toBe(placed.headers.get('location'));
    const page = await (await fetch(new URL(placed.headers.get('location') ?? '', web.url))).text();
    expect(page).toContain('Forest honey');
    expect(page).not.toContain('<b>Eve');
    await eventually(async () => {
      const list = await (await fetch(`${web.url}/orders`)).text();
      return list.includes('confirmed') && list.includes('&#60;b&#62;Eve');
    }, 'the order confirmed on the page');
    expect((await fetch(`${web.url}/products/none`)).status).toBe(404);
  });

  it('carries the trace of a request from page to catalog', async () => {
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const response = await fetch(web.url, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
    expect(response.headers.get('traceparent')).toContain(traceId);
    await eventually(async () => catalog.log.some((line) => line.includes(traceId)), 'the trace in the log');
  });

  it('goes on taking orders while the server is down, and confirms them when it is back', async () => {
    await shop.stopServer();
    const response = await place(orderAt(0), apples);
    expect(response.status).toBe(201);
    const { id } = await orderIn(response);
    expect(await orderFrom(orderAt(1), id)).toMatchObject({ status: 'placed' });
    await shop.startServer();
    await confirmed(orderAt(1), id);
  });

  it('goes on with one storage node down, and loses no order', async () => {
    await shop.killStorageNode(1);
    const response = await place(orderAt(0), apples);
    expect(response.status).toBe(201);
    const { id } = await orderIn(response);
    await confirmed(orderAt(1), id);
    await shop.restartStorageNode(1);
    await shop.killStorageNode(2);
    expect(await orderFrom(orderAt(1), id)).toMatchObject({ status: 'confirmed' });
    await shop.restartStorageNode(2);
  });

  it('replaces a killed master within seconds, and confirms what it left', async () => {
    const third = await shop.service('orders', 'orders-2');
    const replicas = [...orders, third];
    const masterOf = async (replica: Replica): Promise<string | null> =>
      masterAnswer.parse(await json(`${replica.url}/master`)).master;
    await eventually(async () => (await masterOf(third)) !== null, 'a master known');
    const name = await masterOf(third);
    const master = replicas.find((replica) => replica.name === name);
    const others = replicas.filter((replica) => replica !== master);
    const [one, two] = others;
    if (master === undefined || one === undefined || two === undefined) throw new Error(`master ${name}`);
    const acknowledged: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      acknowledged.push((await orderIn(await place(one, apples))).id);
    }
    await master.kill();
    for (const id of acknowledged) await confirmed(two, id);
    const successor = await masterOf(one);
    expect(successor).not.toBe(name);
    expect(others.map((replica) => replica.name)).toContain(successor);
  });

  it('leaves in order on SIGTERM: not ready first, exit code 0', async () => {
    const leaver = await shop.service('orders', 'orders-3');
    leaver.child.kill('SIGTERM');
    await eventually(async () => {
      const status = (await fetch(`${leaver.url}/readyz`).catch(() => undefined))?.status;
      return status === 503 || leaver.child.exitCode !== null;
    }, 'not ready');
    if (leaver.child.exitCode === null) await once(leaver.child, 'exit');
    expect(leaver.child.exitCode).toBe(0);
    expect(leaver.log.at(-1)).toContain('"message":"stopped"');
  });
});
