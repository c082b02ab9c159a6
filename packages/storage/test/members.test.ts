// The cluster changes its members while clients write, and loses nothing.
import { systemClock } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import type { DistributedStorage, MoveProgress } from '../src/index.ts';
import { TestCluster, TOKEN } from './support/cluster.ts';

const text = (body: Uint8Array): string => Buffer.from(body).toString();

/** Two clients write and delete different keys until stopped. */
function load(clients: readonly DistributedStorage[]) {
  const state = new Map<string, string | undefined>();
  let stopped = false;
  let operations = 0;
  const done = Promise.all(
    clients.map(async (client, who) => {
      for (let n = 0; !stopped; n += 1) {
        const key = `client-${who}/object-${n % 60}`;
        if (n % 7 === 3) {
          await client.delete('load', key);
          state.set(key, undefined);
        } else {
          await client.put('load', key, `value-${n}`);
          state.set(key, `value-${n}`);
        }
        operations += 1;
      }
    }),
  );
  return {
    state,
    operations: () => operations,
    stop: async () => {
      stopped = true;
      await done;
    },
  };
}

async function expectState(storage: DistributedStorage, state: ReadonlyMap<string, string | undefined>) {
  for (const [key, value] of state) {
    const read = storage.get('load', key).then(
      ({ body }) => text(body),
      (error: { code: string }) => error.code,
    );
    expect([key, await read]).toEqual([key, value ?? 'OBJECT_NOT_FOUND']);
  }
  const listed: string[] = [];
  for await (const { key } of storage.list('load')) listed.push(key);
  const expected = [...state].filter(([, value]) => value !== undefined).map(([key]) => key);
  expect(listed).toEqual(expected.sort());
}

describe('members of the cluster', () => {
  it('come and go under concurrent writes of clients that know nothing of it', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const admin = cluster.client();
    await admin.put('load', 'first', 'x');
    await admin.delete('load', 'first');
    const seeds = [cluster.node('a').address, cluster.node('b').address];
    const others = [0, 1].map(() => cluster.client({ nodes: [], seeds, token: TOKEN }));
    const writing = load(others);
    const d = await cluster.addProcess('d');
    const progress: MoveProgress[] = [];
    const grown = await admin.addNode(d, { onProgress: (step) => void progress.push(step) });
    expect(grown.nodes.map((node) => node.id).sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(progress.at(-1)).toMatchObject({ phase: 'done', partitionsDone: 256 });
    const shrunk = await admin.removeNode('a');
    expect(shrunk.nodes.map((node) => node.id).sort()).toEqual(['b', 'c', 'd']);
    await cluster.node('a').kill();
    await writing.stop();
    expect(writing.operations()).toBeGreaterThan(100);
    await expectState(admin, writing.state);
    await admin.repair();
    expect(await admin.getClusterStatus()).toMatchObject({ health: 'healthy', nodesUp: 3, moving: false });
    // d, which joined last, and one more are enough: the data is really there.
    await cluster.node('b').kill();
    await expectState(admin, writing.state);
  });

  it('replace a dead node by a new one', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    for (let n = 0; n < 50; n += 1) await storage.put('load', `key-${n}`, `value-${n}`);
    await cluster.node('c').kill();
    await storage.addNode(await cluster.addProcess('d'));
    await storage.removeNode('c');
    expect(await storage.getClusterStatus()).toMatchObject({ health: 'healthy', nodesUp: 3, objects: 50 });
    await cluster.node('a').kill();
    for (let n = 0; n < 50; n += 1) {
      expect(text((await storage.get('load', `key-${n}`)).body)).toBe(`value-${n}`);
    }
  });

  it('cannot leave when too few or too small nodes would stay', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c'], { capacityBytes: 200_000 });
    const storage = cluster.client();
    await storage.put('load', 'x', 'x');
    await expect(storage.removeNode('a')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(storage.removeNode('z')).rejects.toMatchObject({ code: 'NODE_NOT_FOUND' });
    await storage.addNode(await cluster.addProcess('d', 200_000));
    await expect(storage.addNode(cluster.node('d'))).rejects.toMatchObject({ code: 'NODE_EXISTS' });
    for (let n = 0; n < 30; n += 1) await storage.put('load', `key-${n}`, 'x'.repeat(7_000));
    await expect(storage.removeNode('d')).rejects.toMatchObject({ code: 'INSUFFICIENT_SPACE' });
    expect(await storage.getClusterStatus()).toMatchObject({ moving: false, nodesUp: 4 });
  });

  it('agree on one layout when two administrators change it at the same time', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const [first, second] = [cluster.client(), cluster.client()];
    await first.put('load', 'x', 'x');
    const [d, e] = [await cluster.addProcess('d'), await cluster.addProcess('e')];
    const results = await Promise.allSettled([first.addNode(d), second.addNode(e)]);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'LAYOUT_CONFLICT' });
    }
    // Whoever lost the race decides again; then all five are in.
    for (const node of [d, e]) {
      await second.addNode(node).catch((error) => expect(error).toMatchObject({ code: 'NODE_EXISTS' }));
    }
    await second.repair();
    const [one, two] = [await first.getClusterStatus(), await second.getClusterStatus()];
    expect(one.layoutVersion).toBe(two.layoutVersion);
    expect(one.nodes.map((node) => node.id).sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(new Set(one.nodes.map((node) => node.layoutVersion)).size).toBe(1);
  });

  it('go on with a move whose administrator died in the middle', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const [first, second] = [cluster.client(), cluster.client()];
    for (let n = 0; n < 50; n += 1) await first.put('load', `key-${n}`, `value-${n}`);
    const d = await cluster.addProcess('d');
    const stop = new AbortController();
    const onProgress = (step: MoveProgress) => step.partitionsDone === 100 && stop.abort(new Error('died'));
    await expect(first.addNode(d, { signal: stop.signal, onProgress })).rejects.toThrow('died');
    expect(await second.getClusterStatus()).toMatchObject({ moving: true });
    await second.put('load', 'during', 'the move');
    await second.repair();
    expect(await second.getClusterStatus()).toMatchObject({ moving: false, health: 'healthy', objects: 51 });
    expect(text((await second.get('load', 'during')).body)).toBe('the move');
  });

  it('do not bring back deleted objects when one returns that was away', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c', 'd']);
    const storage = cluster.client();
    const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`);
    for (const key of keys) await storage.put('load', key, 'x');
    await storage.repair();
    await cluster.node('d').kill();
    await storage.removeNode('d');
    for (const key of keys) await storage.delete('load', key);
    await storage.repair();
    // A day later nobody remembers the deletions.
    const clock = Object.create(systemClock, { now: { value: () => Date.now() + 25 * 3_600_000 } });
    expect((await cluster.client({ clock }).repair()).tombstonesRemoved).toBe(40);
    await cluster.node('d').restart();
    await storage.addNode(cluster.node('d'));
    await storage.repair();
    for await (const { key } of storage.list('load')) throw new Error(`${key} is back`);
    expect(await storage.getClusterStatus()).toMatchObject({ objects: 0, nodesUp: 4 });
  });

  it('get by repair what only one of them has', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('load', 'x', 'old');
    await cluster.node('b').kill();
    await cluster.node('c').kill();
    const put = await storage.put('load', 'x', 'new', { consistency: 'eventual' });
    await cluster.node('b').restart();
    await cluster.node('c').restart();
    await storage.repair();
    await cluster.node('a').kill();
    expect((await storage.get('load', 'x')).info.etag).toBe(put.etag);
  });
});
