// What users must not notice: a storage node that dies, freezes, or whose disk lies.
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isHeptadError } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import type { DistributedStorage } from '../src/index.ts';
import { eventually, fileOf, flipBit, TestCluster } from './support/cluster.ts';

const run = promisify(execFile);
const text = (body: Uint8Array): string => Buffer.from(body).toString();

/** Writes numbered objects until stopped; remembers what was acknowledged. */
function writer(storage: DistributedStorage, bucket: string) {
  const acknowledged = new Map<string, string>();
  const refused: unknown[] = [];
  let stopped = false;
  const done = (async () => {
    for (let n = 0; !stopped; n += 1) {
      const [key, value] = [`object-${n % 40}`, `value-${n}`];
      try {
        await storage.put(bucket, key, value);
        acknowledged.set(key, value);
      } catch (error) {
        refused.push(error);
        // Whether it was stored is unknown: the next write of this key decides.
        acknowledged.delete(key);
      }
    }
  })();
  return {
    acknowledged,
    refused,
    stop: async () => {
      stopped = true;
      await done;
    },
  };
}

async function expectAll(storage: DistributedStorage, bucket: string, all: ReadonlyMap<string, string>) {
  for (const [key, value] of all) expect(text((await storage.get(bucket, key)).body)).toBe(value);
}

describe('three storage nodes', () => {
  it('go on reading and writing when one is killed, and lose nothing that was acknowledged', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    const writing = writer(storage, 'orders');
    await eventually(async () => writing.acknowledged.size >= 20, 'twenty objects written');
    await cluster.node('b').kill();
    const before = writing.acknowledged.size;
    await eventually(
      async () => writing.acknowledged.size >= before + 10,
      'ten more written with a node down',
    );
    await cluster.node('b').restart();
    await cluster.node('c').kill();
    await eventually(async () => writing.acknowledged.size >= 40, 'all forty written');
    await writing.stop();
    expect(writing.refused).toEqual([]);
    await expectAll(storage, 'orders', writing.acknowledged);
    // What b missed while it was down it has after a repair: then even c's death and a's would leave it readable.
    await cluster.node('c').restart();
    const { problems } = await storage.repair();
    expect(problems).toEqual([]);
    const status = await storage.getClusterStatus();
    expect(status).toMatchObject({
      health: 'healthy',
      nodesUp: 3,
      partitionsUnderReplicated: 0,
      objects: 40,
    });
  });

  it('refuse writes and reads, naming each replica, when two are killed, and recover when they come back', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('orders', 'kept', 'before');
    await cluster.node('a').kill();
    await cluster.node('c').kill();
    const error: unknown = await storage.put('orders', 'new', 'x').catch((reason: unknown) => reason);
    if (!isHeptadError(error, 'WRITE_FAILED')) throw error;
    expect(error.message).toContain('b: done');
    expect(error.message).toMatch(/a \(127\.0\.0\.1:\d+\): NODE_UNREACHABLE/);
    expect(error.message).toMatch(/c \(127\.0\.0\.1:\d+\): NODE_UNREACHABLE/);
    expect(error.details.replicas).toMatchObject([
      { code: 'NODE_UNREACHABLE' },
      { code: 'NODE_UNREACHABLE' },
    ]);
    expect(error.hint).toContain('heptad storage status');
    await expect(storage.get('orders', 'kept')).rejects.toMatchObject({ code: 'READ_FAILED' });
    expect(text((await storage.get('orders', 'kept', { consistency: 'eventual' })).body)).toBe('before');
    expect(await storage.getClusterStatus()).toMatchObject({ health: 'unavailable', nodesUp: 1 });
    await cluster.node('a').restart();
    await storage.put('orders', 'new', 'x');
    expect(text((await storage.get('orders', 'kept')).body)).toBe('before');
  });

  it('answer although one hangs', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('orders', '1', 'one');
    cluster.node('a').freeze();
    await storage.put('orders', '2', 'two');
    expect(text((await storage.get('orders', '1')).body)).toBe('one');
    expect(text((await storage.get('orders', '2')).body)).toBe('two');
    cluster.node('a').thaw();
  });

  it('read right although bits flipped on a disk, and repair the damaged copy', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('orders', '1', 'the right bytes');
    for (const node of cluster.nodes) {
      const path = await fileOf(node, 'orders', '1');
      const good = await readFile(path);
      await flipBit(path);
      await eventually(async () => {
        expect(text((await storage.get('orders', '1')).body)).toBe('the right bytes');
        return (await readFile(path)).equals(good);
      }, `the copy on ${node.id} repaired`);
    }
  });

  it('find damage that no reader met by verifying, also in headers and cut files, also after a restart', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    for (const key of ['body', 'header', 'short']) await storage.put('orders', key, `bytes of ${key}`);
    const b = cluster.node('b');
    await flipBit(await fileOf(b, 'orders', 'body'));
    const header = await fileOf(b, 'orders', 'header');
    await flipBit(header, (await readFile(header)).length - 40);
    await truncate(await fileOf(b, 'orders', 'short'), 100);
    await b.kill();
    await b.restart();
    expect(text((await storage.get('orders', 'header')).body)).toBe('bytes of header');
    const report = await storage.repair({ verify: true });
    expect(report.problems).toEqual([]);
    const status = await storage.getClusterStatus();
    expect(status).toMatchObject({ health: 'healthy', partitionsUnderReplicated: 0 });
    // b alone can answer for all of them now.
    await cluster.node('a').kill();
    await cluster.node('c').kill();
    for (const key of ['body', 'header', 'short']) {
      const read = await storage.get('orders', key, { consistency: 'eventual' });
      expect(text(read.body)).toBe(`bytes of ${key}`);
    }
  });

  it('say DATA_CORRUPT, and never answer an older version, when no good copy is left', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const storage = cluster.client();
    await storage.put('orders', '1', 'lost to bad disks');
    for (const node of cluster.nodes) await flipBit(await fileOf(node, 'orders', '1'));
    await expect(storage.get('orders', '1')).rejects.toMatchObject({ code: 'DATA_CORRUPT' });
  });

  it('remove what a crash left half written', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    const a = cluster.node('a');
    await a.kill();
    await writeFile(join(a.directory, 'tmp', 'torn'), 'half an obj');
    await a.restart();
    expect(await readdir(join(a.directory, 'tmp'))).toEqual([]);
  });

  it('refuse to start on a layout file they cannot read, and leave everything as it is', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    await cluster.client().put('orders', '1', 'x');
    const a = cluster.node('a');
    await a.kill();
    const path = join(a.directory, 'layout.json');
    await writeFile(path, '{"format":"heptad-lay');
    await expect(a.restart()).rejects.toThrow(/STORE_CORRUPT|layout\.json/);
    expect(await readFile(path, 'utf8')).toBe('{"format":"heptad-lay');
  });

  it('refuse what does not fit, and take it after something was deleted', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c'], { capacityBytes: 100_000 });
    const storage = cluster.client();
    await storage.put('blobs', 'first', 'x'.repeat(60_000));
    const error: unknown = await storage
      .put('blobs', 'second', 'x'.repeat(60_000))
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'INSUFFICIENT_SPACE' });
    expect(String(error)).toContain('bytes are free');
    await storage.delete('blobs', 'first');
    await storage.put('blobs', 'second', 'x'.repeat(60_000));
    await expect(storage.get('blobs', 'first')).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' });
  });

  it.skipIf(process.getuid?.() !== 0)(
    'say INSUFFICIENT_SPACE when the disk itself is full, and go on',
    async () => {
      await using cluster = await TestCluster.start([]);
      await using mounts = new AsyncDisposableStack();
      for (const id of ['a', 'b', 'c']) {
        const path = join(cluster.root, id);
        await mkdir(path);
        await run('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', path]);
        mounts.defer(async () => void (await run('umount', ['-l', path])));
        await cluster.addProcess(id);
      }
      const storage = cluster.client();
      await storage.put('blobs', 'small', 'x');
      const big = 'x'.repeat(3 * 1024 * 1024);
      await expect(storage.put('blobs', 'big', big)).rejects.toMatchObject({ code: 'INSUFFICIENT_SPACE' });
      await storage.put('blobs', 'small', 'y');
      expect(text((await storage.get('blobs', 'small')).body)).toBe('y');
    },
  );

  it('turn away a wrong token', async () => {
    await using cluster = await TestCluster.start(['a', 'b', 'c']);
    await cluster.client().put('orders', '1', 'x');
    const stranger = cluster.client({ token: 'not-the-token-of-the-cluster' });
    const refusal = expect(stranger.get('orders', '1')).rejects;
    await refusal.toThrow(/token is missing or wrong/);
  });
});
