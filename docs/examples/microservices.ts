// Two replicas of a service register themselves; a client finds, balances and retries; an event goes over a durable bus.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStateStore } from '@heptad/core';
import { MeshClient, Microservice, ServiceRegistry } from '@heptad/mesh';
import { SqliteEventBus } from '@heptad/mesh/events';

const directory = await mkdtemp(join(tmpdir(), 'example-mesh-'));
const store = new MemoryStateStore();
const registry = new ServiceRegistry({ store });
const bus = new SqliteEventBus({ path: join(directory, 'events.db') });

const replicas = await Promise.all(
  ['a', 'b'].map(async (replica) => {
    const service = new Microservice({
      name: 'orders',
      host: '127.0.0.1',
      registry,
      routes: {
        'POST /orders/:item': async ({ params }) => {
          const position = await bus.publish('orders', {
            key: params.item ?? '',
            data: { item: params.item, by: replica },
          });
          return { status: 201, body: { item: params.item, position } };
        },
      },
    });
    await service.start();
    return service;
  }),
);

const client = new MeshClient({ catalog: registry.catalog });
for (const item of ['apples', 'pears', 'plums']) {
  const response = await client.fetch(`http://orders/orders/${item}`, { method: 'POST' });
  console.log(response.status, await response.json());
}

// One replica goes; the next calls find the other one.
await replicas[0]?.close();
console.log((await client.fetch('http://orders/orders/figs', { method: 'POST' })).status);

const done = Promise.withResolvers<void>();
let seen = 0;
const subscription = bus.subscribe('orders', { group: 'mailer', from: 'beginning' }, async (event) => {
  console.log('event', event.position, JSON.stringify(event.data));
  if (++seen === 4) done.resolve();
});
await done.promise;

await subscription.close();
await client.close();
await replicas[1]?.close();
await registry.close();
await bus[Symbol.asyncDispose]();
await store[Symbol.asyncDispose]();
await rm(directory, { recursive: true });
