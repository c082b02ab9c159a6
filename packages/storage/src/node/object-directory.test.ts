// What a node's directory keeps through overwrites, crashes and damage.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Disk, nodeDisk, systemRandom } from '@heptad/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { objectId, sha256Hex, type VersionHeader } from '../model/version.ts';
import { ObjectDirectory } from './object-directory.ts';

const tag = (n: number): string => `${n.toString(16).padStart(16, '0')}.8000000000000000`;
const id = objectId('docs', 'x');

function version(n: number, text = `version ${n}`, deleted = false): [VersionHeader, Uint8Array] {
  const body = Buffer.from(deleted ? '' : text);
  const base = { bucket: 'docs', key: 'x', tag: tag(n), sha256: sha256Hex(body), sizeBytes: body.length };
  return [{ ...base, lastModified: n, metadata: {}, deleted }, body];
}

/** A disk that stops working at the n-th step, as a machine does whose power is cut. */
function cutAfter(steps: number): Disk {
  let left = steps;
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    left -= 1;
    if (left < 0) throw new Error('power cut');
    return await work();
  };
  return {
    ...nodeDisk,
    open: async (path, mode) => {
      const file = await step(() => nodeDisk.open(path, mode));
      if (mode === 'read') return file;
      return Object.assign(Object.create(file), {
        write: (offset: number, data: Uint8Array) =>
          // The cut may fall in the middle of the write.
          left === 0
            ? file.write(offset, data.subarray(0, data.length / 2)).then(() => step(async () => undefined))
            : step(() => file.write(offset, data)),
        datasync: () => step(() => file.datasync()),
        close: () => file.close(),
      });
    },
    rename: (from, to) => step(() => nodeDisk.rename(from, to)),
    remove: (path) => step(() => nodeDisk.remove(path)),
    syncDirectory: (path) => step(() => nodeDisk.syncDirectory(path)),
    makeDirectory: (path) => nodeDisk.makeDirectory(path),
    list: (path) => nodeDisk.list(path),
    exists: (path) => nodeDisk.exists(path),
  };
}

describe('ObjectDirectory', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'heptad-objects-'));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
  });
  const open = (capacityBytes = 1024 ** 2, disk: Disk = nodeDisk): Promise<ObjectDirectory> =>
    ObjectDirectory.open({ directory, capacityBytes, disk, random: systemRandom });
  const files = async (): Promise<string[]> => await readdir(join(directory, 'objects', id.slice(0, 2)));

  it('keeps the version with the highest tag, in whatever order they come, in one file', async () => {
    const objects = await open();
    for (const n of [2, 5, 1, 3]) {
      expect(await objects.write(...version(n))).toBe(tag(Math.max(2, n === 2 ? 2 : 5)));
    }
    const found = await objects.read(id);
    expect(found.state === 'good' && Buffer.from(found.body).toString()).toBe('version 5');
    expect(await files()).toEqual([`${id}-${tag(5)}`]);
  });

  it('serialises writes of one object that come at the same time', async () => {
    const objects = await open();
    const kept = await Promise.all([4, 9, 2, 7].map((n) => objects.write(...version(n))));
    expect(kept.at(-1)).toBe(tag(9));
    expect(await files()).toEqual([`${id}-${tag(9)}`]);
    expect(objects.counts().reduce((sum, counts) => sum + counts.objects, 0)).toBe(1);
  });

  it('has after a power cut at any step what it acknowledged, whole, or the version that was being written', async () => {
    for (let steps = 0; ; steps += 1) {
      await rm(directory, { recursive: true, force: true });
      await mkdir(directory);
      await (await open()).write(...version(1));
      const failing = await ObjectDirectory.open({
        directory,
        capacityBytes: 1024 ** 2,
        // Opening takes two directory syncs, then the write begins.
        disk: cutAfter(2 + steps),
        random: systemRandom,
      }).catch(() => undefined);
      const acknowledged = await failing?.write(...version(2)).then(
        () => true,
        () => false,
      );
      const recovered = await open();
      const found = await recovered.read(id);
      expect(found.state).toBe('good');
      const text = found.state === 'good' ? Buffer.from(found.body).toString() : '';
      if (acknowledged === true) expect(text).toBe('version 2');
      else expect(['version 1', 'version 2']).toContain(text);
      expect(await files()).toHaveLength(1);
      expect(await readdir(join(directory, 'tmp'))).toEqual([]);
      if (acknowledged === true && steps > 6) return;
    }
  });

  it('knows the tag of a version whose file is all zeroes, and lets a good copy replace it', async () => {
    await (await open()).write(...version(3));
    const path = join(directory, 'objects', id.slice(0, 2), `${id}-${tag(3)}`);
    await writeFile(path, Buffer.alloc((await readFile(path)).length));
    const objects = await open();
    expect(await objects.read(id)).toMatchObject({ state: 'corrupt', tag: tag(3) });
    expect(await objects.write(...version(2))).toBe(tag(3));
    expect(await objects.read(id)).toMatchObject({ state: 'corrupt' });
    await objects.write(...version(3));
    expect(await objects.read(id)).toMatchObject({ state: 'good' });
  });

  it("notices a file that is sound and another object's", async () => {
    const objects = await open();
    await objects.write(...version(3));
    const path = join(directory, 'objects', id.slice(0, 2), `${id}-${tag(3)}`);
    const other = await readFile(path, 'latin1');
    await objects.write(...version(4));
    await writeFile(path.replace(tag(3), tag(4)), other, 'latin1');
    expect(await objects.read(id)).toMatchObject({ state: 'corrupt', tag: tag(4) });
  });

  it('refuses what does not fit, counts what it has, and takes tombstones when full', async () => {
    const objects = await open(1000);
    await objects.write(...version(1, 'x'.repeat(500)));
    await expect(objects.write(...version(2, 'x'.repeat(900)))).rejects.toMatchObject({
      code: 'INSUFFICIENT_SPACE',
    });
    const before = objects.usedBytes;
    expect(before).toBeGreaterThan(500);
    await objects.write(...version(3, '', true));
    expect(objects.usedBytes).toBeLessThan(before);
    expect((await open(1000)).usedBytes).toBe(objects.usedBytes);
    await objects.drop(id, tag(3));
    expect(objects.usedBytes).toBe(0);
    expect(await files()).toEqual([]);
  });

  it('drops nothing that is newer than it was told', async () => {
    const objects = await open();
    await objects.write(...version(5));
    await objects.drop(id, tag(4));
    expect(await objects.read(id)).toMatchObject({ state: 'good' });
  });
});
