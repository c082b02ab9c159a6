// Election and Lock: one at a time, tokens that grow, a fence that holds, and who hears of it.

import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../sim/virtual-clock.ts';
import { Election, electionKey, type Leader, Lock } from './election.ts';
import { MemoryStateStore } from './memory.ts';

function fresh() {
  const clock = new VirtualClock();
  const store = new MemoryStateStore({ clock });
  const election = (candidate: string) => new Election({ store, name: 'job', candidate, ttlMs: 1000, clock });
  return { clock, store, election };
}

describe('Election', () => {
  it('elects one; the next follows when it resigns, with a higher token', async () => {
    const { clock, election } = fresh();
    const first = await election('a').campaign();
    let second: Awaited<ReturnType<Election['campaign']>> | undefined;
    const campaigning = election('b')
      .campaign()
      .then((leadership) => {
        second = leadership;
      });
    await clock.advance(10_000);
    expect(second).toBeUndefined();
    expect(first.lost.aborted).toBe(false);
    await first.resign();
    expect(first.lost.aborted).toBe(true);
    await campaigning;
    expect(second?.token).toBeGreaterThan(first.token);
    await second?.resign();
  });

  it('of many candidates exactly one leads at any time, and all get their turn', async () => {
    const { clock, election } = fresh();
    let leading = 0;
    const order: string[] = [];
    const turns = Promise.all(
      ['a', 'b', 'c', 'd'].map(async (name) => {
        const leadership = await election(name).campaign();
        leading += 1;
        expect(leading).toBe(1);
        order.push(name);
        await clock.sleep(500);
        leading -= 1;
        await leadership.resign();
      }),
    );
    await clock.advance(60_000);
    await turns;
    expect(order.sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('a dead leader is replaced when its lease ends, and its fence no longer holds', async () => {
    const { clock, store, election } = fresh();
    const { id } = await store.grantLease({ ttlMs: 1000 });
    const dead = await store.txn({
      compare: [],
      success: [{ op: 'put', key: electionKey('job'), value: 'dead', leaseId: id }],
    });
    const campaigning = election('b').campaign();
    await clock.advance(1000);
    const leadership = await campaigning;
    const write = (than: number) =>
      store.txn({
        compare: [{ key: electionKey('job'), target: 'createRevision', is: '=', than }],
        success: [{ op: 'put', key: '/written', value: 'x' }],
      });
    expect((await write(dead.revision)).succeeded).toBe(false);
    expect((await write(leadership.token)).succeeded).toBe(true);
    await leadership.resign();
  });

  it('a leader whose key is taken away learns at once', async () => {
    const { store, election } = fresh();
    const leadership = await election('a').campaign();
    const told = new Promise<void>((resolve) => {
      leadership.lost.addEventListener('abort', () => resolve(), { once: true });
    });
    await store.txn({ compare: [], success: [{ op: 'delete', key: electionKey('job') }] });
    await told;
  });

  it('an aborted campaign rejects with the reason and leaves nothing behind', async () => {
    const { clock, store, election } = fresh();
    const first = await election('a').campaign();
    const stop = new AbortController();
    const campaigning = election('b').campaign(stop.signal);
    await clock.advance(100);
    const reason = new Error('enough');
    stop.abort(reason);
    await expect(campaigning).rejects.toBe(reason);
    await first.resign();
    await clock.advance(5_000);
    expect((await store.range({ key: '', prefix: true })).kvs).toEqual([]);
  });

  it('observers see every leader and every vacancy', async () => {
    const { clock, election } = fresh();
    const stop = new AbortController();
    const seen: (Leader | undefined)[] = [];
    const observing = (async () => {
      for await (const leader of election('observer').observe(stop.signal)) seen.push(leader);
    })();
    await clock.advance(1);
    const first = await election('a').campaign();
    await clock.advance(1);
    await first.resign();
    await clock.advance(1);
    const second = await election('b').campaign();
    await clock.advance(1);
    stop.abort();
    await observing;
    expect(seen).toEqual([
      undefined,
      { candidate: 'a', token: first.token },
      undefined,
      { candidate: 'b', token: second.token },
    ]);
  });
});

describe('Lock', () => {
  it('is held by one; release lets the next in; names are separate', async () => {
    const { clock, store } = fresh();
    const lock = (name: string, holder: string) => new Lock({ store, name, holder, ttlMs: 1000, clock });
    const held = await lock('x', 'a').acquire();
    const other = await lock('y', 'b').acquire();
    let got = false;
    const waiting = lock('x', 'b')
      .acquire()
      .then((next) => {
        got = true;
        return next;
      });
    await clock.advance(5_000);
    expect(got).toBe(false);
    await held.release();
    const next = await waiting;
    expect(next.token).toBeGreaterThan(held.token);
    await next.release();
    await other.release();
  });
});
