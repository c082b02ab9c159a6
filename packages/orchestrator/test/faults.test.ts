// Faults: agents, nodes, controllers and the state store die, and what users see goes on.

import {
  HeptadError,
  type Lease,
  MemoryStateStore,
  type RangeQuery,
  type RangeResult,
  type StateStore,
  type Txn,
  type TxnResult,
  type WatchEvent,
  type WatchQuery,
} from '@heptad/core';
import { ContainerOrchestrator } from '@heptad/orchestrator';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually, tick, World, webSpec } from './world.ts';

let world: World;

afterEach(async () => {
  await world[Symbol.asyncDispose]();
});

/** A store that can be unplugged: then every call fails and every watch breaks. */
class UnpluggableStore implements StateStore {
  readonly #inner = new MemoryStateStore();
  #plug = new AbortController();
  #out = false;

  unplug(): void {
    this.#out = true;
    this.#plug.abort();
  }

  plugIn(): void {
    this.#out = false;
    this.#plug = new AbortController();
  }

  #check(): void {
    if (this.#out) throw new HeptadError('UNAVAILABLE', 'the state store is unplugged', { retryable: true });
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    this.#check();
    return this.#inner.range(query);
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#check();
    return this.#inner.txn(txn);
  }

  async *watch(query: WatchQuery): AsyncIterable<readonly WatchEvent[]> {
    this.#check();
    const plug = this.#plug.signal;
    const signal = query.signal === undefined ? plug : AbortSignal.any([plug, query.signal]);
    yield* this.#inner.watch({ ...query, signal });
    if (plug.aborted)
      throw new HeptadError('UNAVAILABLE', 'the state store was unplugged', { retryable: true });
  }

  async lease(options: { ttlMs: number }): Promise<Lease> {
    this.#check();
    return this.#inner.lease(options);
  }

  async compact(revision: number): Promise<void> {
    return this.#inner.compact(revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }
}

describe('an agent', () => {
  it('that is restarted re-adopts what runs, restarting nothing, and removes what was deleted meanwhile', async () => {
    world = new World();
    await world.orchestrator.start();
    const first = await world.addNode('n1');
    await world.deploy('web', webSpec());
    await world.deploy('old', webSpec({ replicas: 1 }));
    const before = (await world.replicas('web')).map((one) => one.status.runtimeId);
    await first.close();
    await world.orchestrator.remove('old');
    expect(world.running()).toHaveLength(4);
    await world.addNode('n1');
    await eventually(() => expect(world.running()).toHaveLength(3));
    await world.orchestrator.waitFor('web', 'ready');
    const after = await world.replicas('web');
    expect(after.map((one) => one.status.runtimeId)).toEqual(before);
    expect(after.every((one) => one.status.restarts === 0)).toBe(true);
    expect((await world.node('n1')).status.agentGeneration).toBe(2);
  });

  it('that comes back after a replica died restarts it', async () => {
    world = new World();
    await world.orchestrator.start();
    const first = await world.addNode('n1');
    await world.deploy('web', webSpec({ replicas: 1 }));
    await first.close();
    const [victim] = await world.replicas('web');
    await world.runtimes.get('n1')?.kill(victim?.status.runtimeId ?? '');
    await world.addNode('n1');
    await eventually(async () => {
      const [replica] = await world.replicas('web');
      expect(replica?.status).toMatchObject({ ready: true, restarts: 1 });
    });
  });

  it('stops when a newer one takes its node over, and leaves the containers alone', async () => {
    world = new World();
    await world.orchestrator.start();
    const older = await world.addNode('n1');
    await world.deploy('web', webSpec({ replicas: 1 }));
    const fenced = expect(older.closed).rejects.toMatchObject({ code: 'AGENT_FENCED' });
    await world.addNode('n1');
    await fenced;
    expect(await world.targets('web')).toHaveLength(1);
    const [replica] = await world.replicas('web');
    expect(replica?.status.restarts).toBe(0);
  });

  it('stops what runs under its label and nobody wants', async () => {
    world = new World();
    await world.orchestrator.start();
    await world.addNode('n1');
    const runtime = world.runtimes.get('n1');
    const id = await runtime?.create({
      name: 'forgotten',
      image: 'web:1',
      labels: { 'heptad.io/node': 'n1', 'heptad.io/container': 'nobody' },
    });
    const foreign = await runtime?.create({ name: 'foreign', image: 'web:1', labels: {} });
    await runtime?.start(id ?? '');
    await runtime?.start(foreign ?? '');
    await eventually(() => expect(world.running()).toEqual(['foreign']));
  });
});

describe('the state store', () => {
  it('may be away: containers are restarted and probed meanwhile, and the news is told afterwards', async () => {
    const store = new UnpluggableStore();
    world = new World({ store });
    await world.orchestrator.start();
    await world.addNode('n1');
    await world.deploy('web', webSpec({ replicas: 2 }));
    const [victim] = await world.replicas('web');
    const runtime = world.runtimes.get('n1');
    const processes = (): (number | undefined)[] =>
      [...(runtime?.entries.values() ?? [])]
        .filter((entry) => entry.info.state === 'running')
        .map((entry) => entry.info.pid);
    const pids = processes();
    store.unplug();
    await runtime?.kill(victim?.status.runtimeId ?? '');
    await eventually(() => {
      expect(processes()).toHaveLength(2);
      expect(processes()).not.toEqual(pids);
    });
    store.plugIn();
    await eventually(async () => {
      const replica = (await world.replicas('web')).find((one) => one.name === victim?.name);
      expect(replica?.status).toMatchObject({ status: 'Running', ready: true, restarts: 1 });
    });
    await world.orchestrator.scale('web', 3);
    await world.orchestrator.waitFor('web', 'ready', { timeoutMs: 20_000 });
    expect(await world.targets('web')).toHaveLength(3);
  });
});

describe('a node', () => {
  it('that is lost is replaced elsewhere, and what it still ran is removed when it comes back', async () => {
    world = new World({ suspectMs: 700, downMs: 1_200 });
    await world.orchestrator.start();
    const lost = await world.addNode('n1');
    await world.addNode('n2');
    await world.deploy('web', webSpec({ replicas: 4 }));
    const onFirst = (await world.replicas('web')).filter((one) => one.spec.node === 'n1');
    expect(onFirst).toHaveLength(2);
    await lost.close();
    await eventually(async () => {
      const ready = (await world.replicas('web')).filter(
        (one) => one.status.ready && one.spec.node === 'n2' && one.deletedAt === undefined,
      );
      expect(ready).toHaveLength(4);
      expect(await world.targets('web')).toHaveLength(4);
    });
    expect((await world.node('n1')).status.status).toBe('NotReady');
    await world.addNode('n1');
    await eventually(async () => {
      expect(await world.replicas('web')).toHaveLength(4);
      expect(world.running()).toHaveLength(4);
    });
  });

  it('that only lost its agent, and has no other to stand in, keeps its endpoints and its containers', async () => {
    world = new World({ suspectMs: 300, downMs: 600 });
    await world.orchestrator.start();
    const agent = await world.addNode('n1');
    await world.deploy('web', webSpec({ replicas: 2 }));
    const before = (await world.replicas('web')).map((one) => one.name);
    await agent.close();
    await eventually(async () => expect((await world.node('n1')).status.status).toBe('NotReady'));
    expect(await world.targets('web')).toHaveLength(2);
    await world.addNode('n1');
    await eventually(async () => {
      expect((await world.replicas('web')).map((one) => one.name)).toEqual(before);
    });
    const restarts = (await world.replicas('web')).map((one) => [one.status.restarts, one.status.message]);
    expect(restarts).toEqual([
      [0, 'running and healthy'],
      [0, 'running and healthy'],
    ]);
  });

  it('that is drained gives its replicas away without the service losing one', async () => {
    world = new World();
    await world.orchestrator.start();
    await world.addNode('n1');
    await world.addNode('n2');
    await world.deploy('web', webSpec({ replicas: 2 }));
    let least = 2;
    const stop = new AbortController();
    const watch = (async () => {
      while (!stop.signal.aborted) {
        least = Math.min(least, (await world.targets('web')).length);
        await tick();
      }
    })();
    await world.orchestrator.drain('n1');
    await eventually(async () => {
      const replicas = await world.replicas('web');
      expect(replicas.map((one) => one.spec.node)).toEqual(['n2', 'n2']);
    });
    stop.abort();
    await watch;
    expect(least).toBe(2);
  });
});

describe('several controllers', () => {
  it('on one store make what one would make', async () => {
    world = new World();
    const others = [1, 2].map(() => new ContainerOrchestrator({ store: world.store, drainMs: 150 }));
    await Promise.all([world.orchestrator.start(), ...others.map((one) => one.start())]);
    await world.addNode('n1');
    await world.addNode('n2');
    let least = Number.POSITIVE_INFINITY;
    let most = 0;
    await world.deploy('web', webSpec({ replicas: 4 }));
    const stop = new AbortController();
    const watch = (async () => {
      while (!stop.signal.aborted) {
        least = Math.min(least, (await world.targets('web')).length);
        const alive = (await world.replicas('web')).filter((one) => one.deletedAt === undefined);
        most = Math.max(most, alive.filter((one) => one.spec.drainUntil === undefined).length);
        await tick();
      }
    })();
    await world.deploy('web', webSpec({ replicas: 4, image: 'web:2' }));
    stop.abort();
    await watch;
    expect(least).toBeGreaterThanOrEqual(4);
    expect(most).toBeLessThanOrEqual(5);
    await Promise.all(others.map((one) => one.close()));
  });
});
