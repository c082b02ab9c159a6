// What garbage collection keeps: names, leases, labels and what they lead to, also from another process's hands.

import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageStore } from '@heptad/container';
import { systemClock } from '@heptad/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkStore } from '../src/image/check-store.ts';
import { directoryName } from '../src/image/snapshot-info.ts';
import { addRawImage } from './layer-images.ts';
import { rawTar } from './raw-tar.ts';
import { temporaryDirectory } from './support.ts';

let home: string;
let images: ImageStore;
let now = 0;

beforeEach(async () => {
  home = await temporaryDirectory();
  now = systemClock.now();
  images = await ImageStore.open({ home, clock: { ...systemClock, now: () => now } });
});

afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

async function blob(text: string, labels: Record<string, string> = {}): Promise<string> {
  return (await images.content.ingest(`ref-${text}`, [Buffer.from(text)], { labels })).digest;
}

/** What is left after a collection that spares nothing for its age. */
async function left(options: { containers?: string[] } = {}): Promise<Set<string>> {
  // Times of files are whole milliseconds of a clock that we hold.
  now += 1_000;
  await images.gc({ minimumAgeMs: 0, ...options });
  return new Set(await images.content.digests());
}

const GC = 'containerd.io/gc';

describe('collection', () => {
  it('keeps roots and what labels refer to, over any number of steps, and nothing else', async () => {
    const end = await blob('end');
    const middle = await blob('middle', { [`${GC}.ref.content.next`]: end });
    const root = await blob('root', { [`${GC}.root`]: 'yes', [`${GC}.ref.content`]: middle });
    const other = await blob('other', { [`${GC}.root`]: '' });
    expect(await left()).toEqual(new Set([end, middle, root]));
    expect(await images.content.info(other)).toBeUndefined();
    await images.content.update(root, { labels: {} }, [`labels.${GC}.root`]);
    expect(await left()).toEqual(new Set());
    expect(await readdir(join(home, 'content/labels'))).toEqual([]);
  });

  it('keeps what expires later, until then', async () => {
    const digest = await blob('soon', { [`${GC}.expire`]: new Date(now + 60_000).toISOString() });
    const unclear = await blob('unclear', { [`${GC}.expire`]: 'some day' });
    expect(await left()).toEqual(new Set([digest, unclear]));
    now += 120_000;
    expect(await left()).toEqual(new Set([unclear]));
  });

  it('keeps what says that it belongs to something that is kept', async () => {
    await addRawImage(images, 'app', [{ archive: rawTar({ name: 'f' }) }]);
    const ofImage = await blob('of image', { [`${GC}.bref.image`]: 'app:latest' });
    const { digest } = await images.inspect('app');
    const ofContent = await blob('of content', { [`${GC}.bref.content`]: digest });
    const ofContainer = await blob('of container', { [`${GC}.bref.container`]: 'c1' });
    await images.snapshots.prepare('kept');
    await images.snapshots.update('kept', { labels: { [`${GC}.root`]: '1' } });
    const ofSnapshot = await blob('of snapshot', { [`${GC}.bref.snapshot.overlayfs`]: 'kept' });
    const orphan = await blob('orphan', { [`${GC}.bref.image`]: 'absent:latest' });
    const seen = await left({ containers: ['c1'] });
    for (const each of [ofImage, ofContent, ofContainer, ofSnapshot, digest])
      expect(seen.has(each)).toBe(true);
    expect(seen.has(orphan)).toBe(false);
    await images.remove('app');
    expect(await left()).toEqual(new Set([ofSnapshot]));
  });

  it('a lease keeps content with what it refers to, snapshots and writes, until released', async () => {
    const referred = await blob('referred');
    const leased = await blob('leased', { [`${GC}.ref.content.x`]: referred });
    await images.snapshots.prepare('key');
    await images.snapshots.commit('below', 'key');
    await images.snapshots.prepare('top', 'below');
    const writer = await images.content.writer('unfinished');
    await writer.write(Buffer.from('half'));
    await writer.close();
    const lease = await images.leases.create();
    await lease.add(
      { kind: 'content', id: leased },
      { kind: 'snapshot', id: 'top' },
      { kind: 'ingest', id: 'unfinished' },
    );
    expect(await left()).toEqual(new Set([leased, referred]));
    expect((await images.snapshots.list()).sort()).toEqual(['below', 'top']);
    expect((await images.content.status('unfinished')).offset).toBe(4);
    await lease.release();
    expect(await left()).toEqual(new Set());
    expect(await images.snapshots.list()).toEqual([]);
    await expect(images.content.status('unfinished')).rejects.toMatchObject({ code: 'CONTENT_NOT_FOUND' });
    await expect(lease.add({ kind: 'content', id: leased })).rejects.toMatchObject({
      code: 'CONTENT_NOT_FOUND',
    });
  });

  it('a flat lease keeps the thing alone, and a lease ends by itself after a day', async () => {
    const referred = await blob('referred');
    const leased = await blob('leased', { [`${GC}.ref.content.x`]: referred });
    const flat = await images.leases.create({ id: 'flat', labels: { [`${GC}.flat`]: 'yes' } });
    await flat.add({ kind: 'content', id: leased });
    await expect(images.leases.create({ id: 'flat' })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await left()).toEqual(new Set([leased]));
    now += 24 * 60 * 60 * 1000 - 5_000;
    expect(await left()).toEqual(new Set([leased]));
    now += 5_000;
    expect(await left()).toEqual(new Set());
    expect(await images.leases.list()).toEqual([]);
  });

  it('a torn lease is no damage, and keeps nothing', async () => {
    const digest = await blob('x');
    await writeFile(join(home, 'leases', 'torn.json'), '{"id":"torn","resou');
    expect((await checkStore(images, { deep: true })).damage).toEqual([]);
    expect((await left()).has(digest)).toBe(false);
    expect(await readdir(join(home, 'leases'))).toEqual([]);
  });

  it('what two processes load while a third collects without mercy is whole', async () => {
    const archive = join(home, 'app.tar');
    await mkdir(join(home, 'source'));
    const source = await ImageStore.open({ home: join(home, 'source') });
    for (const index of [1, 2, 3])
      await addRawImage(source, `app${index}`, [
        { archive: rawTar({ name: `f${index}`, content: 'x'.repeat(50_000) }) },
        { archive: rawTar({ name: 'shared', content: 'y' }) },
      ]);
    await source.save(['app1', 'app2', 'app3'], archive);
    const openings = await Promise.all([1, 2, 3].map(() => ImageStore.open({ home: join(home, 'target') })));
    const [one, two, collector] = openings;
    if (one === undefined || two === undefined || collector === undefined) throw new Error('three openings');
    let isLoading = true;
    const collecting = (async () => {
      let runs = 0;
      for (; isLoading; runs += 1) await collector.gc({ minimumAgeMs: -60_000 });
      return runs;
    })();
    for (let round = 0; round < 5; round += 1) {
      const loaded = await Promise.all([one.load(archive), two.load(archive)]);
      expect(loaded.flat()).toHaveLength(6);
      for (const name of ['app1', 'app2', 'app3']) await one.parts(name);
      for (const name of ['app1', 'app2', 'app3']) await one.remove(name);
    }
    isLoading = false;
    expect(await collecting).toBeGreaterThan(0);
    expect((await checkStore(one, { deep: true })).damage).toEqual([]);
  });

  it('a snapshot goes only with all that stands on it, and a young one keeps what it stands on', async () => {
    await images.snapshots.prepare('a-key');
    await images.snapshots.commit('a', 'a-key');
    await images.snapshots.prepare('b-key', 'a');
    await images.snapshots.commit('b', 'b-key', { labels: { [`${GC}.root`]: '1' } });
    await images.snapshots.prepare('c-key', 'b');
    await images.snapshots.commit('c', 'c-key');
    now += 1_000;
    expect((await images.gc({ minimumAgeMs: 0 })).snapshots).toBe(1);
    expect((await images.snapshots.list()).sort()).toEqual(['a', 'b']);
    await images.snapshots.update('b', { labels: {} });
    now += 1_000;
    expect((await images.gc({ minimumAgeMs: 0 })).snapshots).toBe(2);
    expect(await readdir(join(home, 'snapshots/l'))).toEqual([]);
  });
});

describe('a look through a store of a thousand layers', () => {
  it('reads neither layers nor, one for another, their parents', async () => {
    // Written by hand: making them one by one would wait for the disk three thousand times.
    for (let image = 0; image < 8; image += 1) {
      for (let layer = 0; layer < 125; layer += 1) {
        const name = `s-${image}-${layer}`;
        const directory = directoryName(name);
        await mkdir(join(home, 'snapshots', directory, 'fs'), { recursive: true });
        await symlink(join('..', directory, 'fs'), join(home, 'snapshots/l', directory.slice(0, 12)));
        const parent = layer === 0 ? {} : { parent: `s-${image}-${layer - 1}` };
        const facts = { labels: {}, createdAt: 1, updatedAt: 1, entries: 1, bytes: 1, skippedXattrs: 0 };
        await writeFile(
          join(home, 'snapshots', directory, 'meta.json'),
          JSON.stringify({ name, kind: 'committed', link: directory.slice(0, 12), ...parent, ...facts }),
        );
      }
    }
    const started = performance.now();
    const report = await checkStore(images);
    process.stderr.write(`check of 1,000 snapshots: ${Math.round(performance.now() - started)} ms\n`);
    expect(report).toMatchObject({ damage: [], checked: { snapshots: 1_000 } });
  }, 300_000);
});
