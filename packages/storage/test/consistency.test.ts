// What the consistency levels, conditions and names promise, against real nodes.
import { MemoryStateStore } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { ConsistencyLevel, type DistributedStorage } from '../src/index.ts';
import { TestCluster } from './support/cluster.ts';

const text = (body: Uint8Array): string => Buffer.from(body).toString();
const failure = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

describe('consistency', () => {
  it('read-your-writes never goes back, even when the nearest replica missed the write', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c'], { zones: ['east', 'west', 'north'] });
    const near = cluster.client({ zone: 'west' });
    const level = ConsistencyLevel.ReadYourWrites;
    await near.put('orders', '1', 'old');
    await cluster.node('b').kill();
    const session = { tags: new Map<string, string>() };
    await near.put('orders', '1', 'new', { session });
    await cluster.node('b').restart();
    // b, in the client's zone, is asked first and has only the old version.
    expect(text((await near.get('orders', '1', { consistency: 'eventual' })).body)).toBe('old');
    expect(text((await near.get('orders', '1', { consistency: level, session })).body)).toBe('new');
    expect(text((await near.get('orders', '1')).body)).toBe('new');
  });

  it("eventual writes need one replica, and later ones win although the writer's clock is behind", async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('orders', '1', 'first', { consistency: 'eventual' });
    const { systemClock } = await import('@heptad/core');
    const clock = Object.create(systemClock, { now: { value: () => Date.now() - 3_600_000 } });
    const late = cluster.client({ clock });
    await late.put('orders', '1', 'second', { consistency: 'eventual' });
    await late.close();
    expect(text((await storage.get('orders', '1')).body)).toBe('second');
    await cluster.node('a').kill();
    await cluster.node('b').kill();
    await storage.put('orders', '2', 'alone', { consistency: 'eventual' });
    expect(text((await storage.get('orders', '2', { consistency: 'eventual' })).body)).toBe('alone');
  });
});

describe('conditional writes', () => {
  it('count right with many writers at the same time', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const stateStore = new MemoryStateStore();
    const clients = [1, 2, 3].map(() => cluster.client({ stateStore }));
    const [first] = clients;
    if (first === undefined) throw new Error('no client');
    await first.put('counters', 'hits', '0', { ifNoneMatch: '*' });
    const succeeded = await Promise.all(clients.map((client) => increments(client, 10)));
    expect(succeeded).toEqual([10, 10, 10]);
    expect(text((await first.get('counters', 'hits')).body)).toBe('30');
    await stateStore[Symbol.asyncDispose]();
  });

  it('finish the decided write of a writer that died', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const stateStore = new MemoryStateStore();
    const [doomed, other] = [cluster.client({ stateStore }), cluster.client({ stateStore })];
    const { etag } = await doomed.put('docs', 'x', 'base');
    const txn = stateStore.txn.bind(stateStore);
    stateStore.txn = async (request) => {
      // The decision stands in the store, and the writer never learns of it.
      await txn(request);
      throw new Error('power cut');
    };
    await expect(doomed.put('docs', 'x', 'decided', { ifMatch: etag })).rejects.toThrow('power cut');
    stateStore.txn = txn;
    await expect(other.put('docs', 'x', 'too late', { ifMatch: etag })).rejects.toMatchObject({
      code: 'PRECONDITION_FAILED',
    });
    expect(text((await other.get('docs', 'x')).body)).toBe('decided');
    await stateStore[Symbol.asyncDispose]();
  });

  it('refuse what does not match, and say so when there is no state store', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client({ stateStore: new MemoryStateStore() });
    const { etag } = await storage.put('docs', 'x', 'one', { ifNoneMatch: '*' });
    expect(await failure(storage.put('docs', 'x', 'two', { ifNoneMatch: '*' }))).toMatchObject({
      code: 'PRECONDITION_FAILED',
      details: { etag },
    });
    await storage.delete('docs', 'x', { ifMatch: etag });
    expect(await failure(storage.delete('docs', 'x', { ifMatch: etag }))).toMatchObject({
      code: 'PRECONDITION_FAILED',
    });
    await storage.put('docs', 'x', 'again', { ifNoneMatch: '*' });
    expect(await failure(cluster.client().put('docs', 'x', 'y', { ifMatch: etag }))).toMatchObject({
      code: 'NOT_SUPPORTED',
      hint: expect.stringContaining('stateStore'),
    });
    const listed: string[] = [];
    for await (const { key } of storage.list('docs')) listed.push(key);
    expect(listed).toEqual(['x']);
  });
});

describe('objects', () => {
  it('are listed in key order, with prefix, after and limit, over several pages', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    const keys = Array.from({ length: 1200 }, (_, n) => `key-${String(n).padStart(4, '0')}`);
    const odd = ['\u{1f34e} apple', '\uffee last of the plane', 'with/slash?&=%', '~'];
    for (const part of chunks([...keys, ...odd], 50)) {
      await Promise.all(part.map((key) => storage.put('list', key, key)));
    }
    const all = await listed(storage, {});
    expect(all).toEqual([...keys, ...odd].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect(await listed(storage, { prefix: 'key-000' })).toEqual(keys.slice(0, 10));
    expect(await listed(storage, { after: 'key-1197', limit: 2 })).toEqual(['key-1198', 'key-1199']);
    expect(await listed(storage, { prefix: 'with/' })).toEqual(['with/slash?&=%']);
    for (const key of odd) expect(text((await storage.get('list', key)).body)).toBe(key);
  });

  it('keep metadata, give ranges, and refuse names and sizes that cannot be', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    async function* body() {
      yield Buffer.from('0123');
      yield Buffer.from('456789');
    }
    const put = await storage.put('files', 'digits', body(), { metadata: { type: 'text/plain' } });
    expect(await storage.head('files', 'digits')).toEqual(put);
    expect(put).toMatchObject({ sizeBytes: 10, metadata: { type: 'text/plain' } });
    expect(text((await storage.get('files', 'digits', { range: { start: 2, end: 4 } })).body)).toBe('234');
    expect(text((await storage.get('files', 'digits', { range: { start: 7 } })).body)).toBe('789');
    expect(await failure(storage.get('files', 'digits', { range: { start: 10 } }))).toMatchObject({
      code: 'INVALID_RANGE',
    });
    for (const [bucket, key] of [
      ['UPPER', 'x'],
      ['ab', 'x'],
      ['files', ''],
      ['files', '\ud800'],
      ['_staged', 'x'],
    ]) {
      expect(await failure(storage.put(bucket ?? '', key ?? '', 'x'))).toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
    const huge = new Uint8Array(64 * 1024 * 1024 + 1);
    expect(await failure(storage.put('files', 'huge', huge))).toMatchObject({ code: 'OBJECT_TOO_LARGE' });
    await storage.put('files', 'empty', '');
    expect((await storage.get('files', 'empty')).body.length).toBe(0);
  });
});

async function increments(client: DistributedStorage, count: number): Promise<number> {
  let done = 0;
  while (done < count) {
    const { body, info } = await client.get('counters', 'hits');
    try {
      await client.put('counters', 'hits', String(Number(text(body)) + 1), { ifMatch: info.etag });
      done += 1;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code !== 'PRECONDITION_FAILED' && code !== 'CONFLICT') throw error;
    }
  }
  return done;
}

async function listed(
  storage: DistributedStorage,
  query: { prefix?: string; after?: string; limit?: number },
) {
  const keys: string[] = [];
  for await (const { key } of storage.list('list', query)) keys.push(key);
  return keys;
}

function* chunks<T>(items: readonly T[], size: number): Iterable<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
