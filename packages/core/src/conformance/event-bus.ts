// The EventBus contract made executable.

import assert from 'node:assert/strict';
import type { DeliveredEvent, EventBus, Subscription } from '../contracts/event-bus.ts';
import { systemClock } from '../ports/node/clock.ts';
import { type ConformanceCase, conformanceCase } from './suite.ts';

/** A fresh bus without topics. */
export interface EventBusHarness extends AsyncDisposable {
  readonly bus: EventBus;
  /** Another member on the same log, as another process has it. Default: the same bus. */
  another?(): Promise<EventBus>;
}

/** Longest wait for a delivery; far beyond any back-off. */
const PATIENCE_MS = 30_000;

function busCase(
  name: string,
  body: (bus: EventBus, harness: EventBusHarness) => Promise<void>,
): ConformanceCase<EventBusHarness> {
  return conformanceCase(name, (harness) => body(harness.bus, harness));
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const deadline = systemClock.monotonicMs() + PATIENCE_MS;
  while (!holds()) {
    assert.ok(systemClock.monotonicMs() < deadline, `${what}: not within ${PATIENCE_MS} ms`);
    await systemClock.sleep(10);
  }
}

/** A subscriber that keeps what it gets; `fail` decides which deliveries it rejects. */
function collector(
  bus: EventBus,
  topic: string,
  group: string,
  options: { from?: 'beginning' | 'end'; fail?: (event: DeliveredEvent) => boolean } = {},
): { events: DeliveredEvent[]; subscription: Subscription } {
  const events: DeliveredEvent[] = [];
  const subscription = bus.subscribe(topic, { group, from: options.from ?? 'beginning' }, async (event) => {
    events.push(event);
    if (options.fail?.(event)) throw new Error('not this time');
  });
  return { events, subscription };
}

const logCases: readonly ConformanceCase<EventBusHarness>[] = [
  busCase('positions of a topic are 1, 2, 3... without gaps, each topic its own', async (bus) => {
    for (let n = 1; n <= 5; n += 1) assert.equal(await bus.publish('orders', { data: n }), n);
    assert.equal(await bus.publish('products', { data: 'x' }), 1);
    const together = await Promise.all([1, 2, 3, 4].map((data) => bus.publish('orders', { data })));
    assert.deepEqual(together.sort(), [6, 7, 8, 9]);
  }),

  busCase('an event is read as it was published', async (bus) => {
    const data = { order: 7, lines: ['é', null, 1.5, { deep: true }], empty: '' };
    await bus.publish('orders', { key: 'customer-1', data, headers: { traceparent: '00-ab' } });
    await bus.publish('orders', { data: null });
    const [first, second] = await bus.read('orders');
    assert.deepEqual(first?.data, data);
    assert.equal(first?.key, 'customer-1');
    assert.deepEqual(first?.headers, { traceparent: '00-ab' });
    assert.equal(first?.topic, 'orders');
    assert.equal(first?.position, 1);
    assert.equal(second?.data, null);
    assert.deepEqual(second?.headers, {});
    assert.equal(second?.key, undefined);
  }),

  busCase('read gives events after a position, up to a limit; an unknown topic has none', async (bus) => {
    for (let n = 1; n <= 6; n += 1) await bus.publish('t', { data: n });
    const positions = async (options?: Parameters<EventBus['read']>[1]): Promise<number[]> =>
      (await bus.read('t', options)).map((event) => event.position);
    assert.deepEqual(await positions(), [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(await positions({ after: 4 }), [5, 6]);
    assert.deepEqual(await positions({ after: 1, limit: 2 }), [2, 3]);
    assert.deepEqual(await positions({ after: 6 }), []);
    assert.deepEqual(await bus.read('unknown'), []);
  }),

  busCase('a second publish with the same id answers the first position and adds nothing', async (bus) => {
    assert.equal(await bus.publish('t', { data: 1, id: 'once' }), 1);
    assert.equal(await bus.publish('t', { data: 2 }), 2);
    assert.equal(await bus.publish('t', { data: 1, id: 'once' }), 1);
    const [a, b] = await Promise.all([
      bus.publish('t', { data: 3, id: 'same' }),
      bus.publish('t', { data: 3, id: 'same' }),
    ]);
    assert.equal(a, b);
    assert.equal((await bus.read('t')).length, 3);
  }),

  busCase('malformed topics and events over 1 MiB are refused, and nothing is added', async (bus) => {
    for (const topic of ['', 'Upper', '-a', 'a b', 'x'.repeat(129)]) {
      await assert.rejects(bus.publish(topic, { data: 1 }), `topic "${topic}"`);
    }
    await assert.rejects(bus.publish('t', { data: 'x'.repeat(1024 * 1024) }));
    assert.equal(await bus.publish('t', { data: 'x'.repeat(1_000_000) }), 1);
  }),
];

const groupCases: readonly ConformanceCase<EventBusHarness>[] = [
  busCase(
    'a group from the beginning gets every event, those before it and those after, in order',
    async (bus) => {
      for (let n = 1; n <= 3; n += 1) await bus.publish('t', { key: 'k', data: n });
      const { events, subscription } = collector(bus, 't', 'g');
      for (let n = 4; n <= 6; n += 1) await bus.publish('t', { key: 'k', data: n });
      await eventually('all come', () => events.length >= 6);
      assert.deepEqual(
        events.map((event) => [event.position, event.data, event.attempt]),
        [1, 2, 3, 4, 5, 6].map((n) => [n, n, 1]),
      );
      await subscription.close();
    },
  ),

  busCase('a group from the end gets only what comes after', async (bus) => {
    await bus.publish('t', { data: 'before' });
    const { events, subscription } = collector(bus, 't', 'late', { from: 'end' });
    // The group's beginning is fixed when its first subscription is there, which need not be at once.
    await eventually('an event comes', () => {
      void bus.publish('t', { data: 'after' });
      return events.length > 0;
    });
    assert.ok(events.every((event) => event.data === 'after'));
    await subscription.close();
  }),

  busCase('every group gets every event', async (bus) => {
    const one = collector(bus, 't', 'one');
    const two = collector(bus, 't', 'two');
    for (let n = 1; n <= 10; n += 1) await bus.publish('t', { data: n });
    await eventually('both have all', () => one.events.length >= 10 && two.events.length >= 10);
    for (const { events, subscription } of [one, two]) {
      assert.deepEqual(new Set(events.map((event) => event.position)).size, 10);
      await subscription.close();
    }
  }),

  busCase('the members of a group share its events: each goes to one of them', async (bus, harness) => {
    const other = (await harness.another?.()) ?? bus;
    const one = collector(bus, 't', 'g');
    const two = collector(other, 't', 'g');
    for (let n = 1; n <= 40; n += 1) await bus.publish('t', { key: `k${n % 8}`, data: n });
    const all = (): DeliveredEvent[] => [...one.events, ...two.events];
    await eventually('all come', () => new Set(all().map((event) => event.position)).size === 40);
    assert.equal(all().length, 40, 'an event came to both');
    await one.subscription.close();
    await two.subscription.close();
  }),

  busCase(
    'a rejected event comes again, its attempt counted, and nothing with its key overtakes it',
    async (bus) => {
      const { events, subscription } = collector(bus, 't', 'g', {
        fail: (event) => event.data === 2 && event.attempt < 3,
      });
      for (let n = 1; n <= 4; n += 1) await bus.publish('t', { key: 'k', data: n });
      await eventually('all are done', () => events.some((event) => event.data === 4));
      assert.deepEqual(
        events.map((event) => [event.data, event.attempt]),
        [
          [1, 1],
          [2, 1],
          [2, 2],
          [2, 3],
          [3, 1],
          [4, 1],
        ],
      );
      await subscription.close();
    },
  ),

  busCase(
    'a new member goes on where the group was: what was acknowledged does not come again',
    async (bus, harness) => {
      for (let n = 1; n <= 5; n += 1) await bus.publish('t', { data: n });
      const first = collector(bus, 't', 'g');
      await eventually('five come', () => first.events.length === 5);
      await first.subscription.close();
      for (let n = 6; n <= 8; n += 1) await bus.publish('t', { data: n });
      const second = collector((await harness.another?.()) ?? bus, 't', 'g');
      await eventually('three more come', () => second.events.length >= 3);
      assert.deepEqual(
        second.events.map((event) => event.data),
        [6, 7, 8],
      );
      assert.equal(first.events.length, 5);
      await second.subscription.close();
    },
  ),

  busCase('close waits for the handler that runs, and no event comes after it', async (bus) => {
    let running = 0;
    let done = 0;
    const subscription = bus.subscribe('t', { group: 'g', from: 'beginning' }, async () => {
      running += 1;
      await systemClock.sleep(200);
      done += 1;
    });
    await bus.publish('t', { data: 1 });
    await eventually('the handler runs', () => running === 1);
    await subscription.close();
    assert.equal(done, 1);
    await bus.publish('t', { data: 2 });
    await systemClock.sleep(200);
    assert.equal(running, 1);
  }),

  busCase('an aborted signal closes the subscription', async (bus) => {
    const stop = new AbortController();
    let got = 0;
    const subscription = bus.subscribe(
      't',
      { group: 'g', from: 'beginning', signal: stop.signal },
      async () => {
        got += 1;
      },
    );
    await bus.publish('t', { data: 1 });
    await eventually('it comes', () => got === 1);
    stop.abort();
    await subscription.close();
    await bus.publish('t', { data: 2 });
    await systemClock.sleep(200);
    assert.equal(got, 1);
  }),
];

/** Cases for any {@link EventBus}; the factory gives a fresh one each time. */
export const eventBusConformance: readonly ConformanceCase<EventBusHarness>[] = [...logCases, ...groupCases];
