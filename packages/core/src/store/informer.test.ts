// Informer: the copy follows the store, through compaction and outage.

import { describe, expect, it } from 'vitest';
import type { RangeQuery, RangeResult, StateStore } from '../contracts/state-store.ts';
import { HeptadError } from '../errors.ts';
import { eventLoopTurn } from '../ports/node/turn.ts';
import { VirtualClock } from '../sim/virtual-clock.ts';
import { Informer } from './informer.ts';
import { MemoryStateStore } from './memory.ts';
import { Resources } from './resources.ts';

const spec = { address: '10.0.0.1:7070' };

function fresh() {
  const clock = new VirtualClock();
  const store = new MemoryStateStore({ clock });
  return { clock, store, centers: new Resources(store, 'Center', { clock }) };
}

/** The store with its reads failing, or its watches cut, on demand. */
function breakable(store: StateStore): StateStore & { down: boolean; cut: AbortController } {
  const broken = {
    down: false,
    cut: new AbortController(),
    range: async (query: RangeQuery): Promise<RangeResult> => {
      if (broken.down) throw new HeptadError('UNAVAILABLE', 'down');
      return store.range(query);
    },
    txn: store.txn.bind(store),
    lease: store.lease.bind(store),
    compact: store.compact.bind(store),
    async *watch(query: Parameters<StateStore['watch']>[0]) {
      const signal = AbortSignal.any([broken.cut.signal, ...(query.signal ? [query.signal] : [])]);
      yield* store.watch({ ...query, signal });
      if (broken.cut.signal.aborted) throw new HeptadError('UNAVAILABLE', 'cut');
    },
    [Symbol.asyncDispose]: async () => {},
  };
  return broken;
}

describe('Informer', () => {
  it('is ready with what is there, and follows every change in order', async () => {
    const { clock, store, centers } = fresh();
    await centers.apply({ name: 'a', spec });
    await using informer = new Informer(store, 'Center', { clock });
    await informer.ready;
    expect([...informer.items.keys()]).toEqual(['a']);
    const heard: string[] = [];
    const subscription = informer.onChange((change) => {
      heard.push(change.type === 'put' ? `put ${change.resource.name}` : `delete ${change.name}`);
    });
    await centers.apply({ name: 'b', spec });
    await centers.remove('a');
    await eventLoopTurn();
    expect(heard).toEqual(['put b', 'delete a']);
    expect([...informer.items.keys()]).toEqual(['b']);
    expect(informer.revision).toBe(3);
    subscription[Symbol.dispose]();
    await centers.remove('b');
    await eventLoopTurn();
    expect(heard.length).toBe(2);
  });

  it('keeps what it knew while the store is away, then reports exactly the differences', async () => {
    const { clock, store, centers } = fresh();
    for (const name of ['kept', 'changed', 'removed']) await centers.apply({ name, spec });
    const flaky = breakable(store);
    const errors: unknown[] = [];
    await using informer = new Informer(flaky, 'Center', { clock, onError: (error) => errors.push(error) });
    await informer.ready;
    const heard: string[] = [];
    informer.onChange((change) => {
      heard.push(change.type === 'put' ? `put ${change.resource.name}` : `delete ${change.name}`);
    });
    flaky.down = true;
    flaky.cut.abort();
    await clock.advance(10_000);
    await centers.apply({ name: 'changed', spec: { address: 'b:1' } });
    await centers.remove('removed');
    await centers.apply({ name: 'new', spec });
    await clock.advance(10_000);
    expect([...informer.items.keys()].sort()).toEqual(['changed', 'kept', 'removed']);
    expect(heard).toEqual([]);
    expect(errors.length).toBeGreaterThan(2);
    expect(informer.lastError).toBe(errors.at(-1));
    flaky.down = false;
    flaky.cut = new AbortController();
    await clock.advance(10_000);
    expect(informer.lastError).toBeUndefined();
    expect(heard.sort()).toEqual(['delete removed', 'put changed', 'put new']);
    expect([...informer.items.keys()].sort()).toEqual(['changed', 'kept', 'new']);
  });

  it('lists again when its place in history was compacted away', async () => {
    const { clock, store, centers } = fresh();
    await centers.apply({ name: 'a', spec });
    const flaky = breakable(store);
    await using informer = new Informer(flaky, 'Center', { clock });
    await informer.ready;
    flaky.cut.abort();
    await eventLoopTurn();
    for (let index = 0; index < 5; index += 1) {
      await centers.apply({ name: 'a', spec: { address: `b:${index + 1}` } });
    }
    await store.compact(6);
    flaky.cut = new AbortController();
    await clock.advance(10_000);
    expect(informer.items.get('a')?.spec.address).toBe('b:5');
  });

  it('a listener that throws is reported and does not stop the others', async () => {
    const { clock, store, centers } = fresh();
    const errors: unknown[] = [];
    await using informer = new Informer(store, 'Center', { clock, onError: (error) => errors.push(error) });
    await informer.ready;
    let heard = 0;
    informer.onChange(() => {
      throw new Error('mine');
    });
    informer.onChange(() => {
      heard += 1;
    });
    await centers.apply({ name: 'a', spec });
    await centers.apply({ name: 'b', spec });
    await eventLoopTurn();
    expect([heard, errors.length]).toEqual([2, 2]);
  });

  it('stopped before its first list, ready rejects', async () => {
    const { clock, store } = fresh();
    const flaky = breakable(store);
    flaky.down = true;
    const informer = new Informer(flaky, 'Center', { clock });
    await eventLoopTurn();
    await informer[Symbol.asyncDispose]();
    await expect(informer.ready).rejects.toThrow('stopped');
  });
});
