// Objects replicated between three real centres over HTTP, each with a storage node on its own disk.

import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { damage, ObjectCenters } from './support/object-centers.ts';

const sha256 = (body: string | Uint8Array): string => createHash('sha256').update(body).digest('hex');
const EVENTUALLY = { timeout: 20_000, interval: 100 };

describe('objects written on the primary', () => {
  it('are on every backup with the same SHA-256 when the write is acknowledged', async () => {
    await using centers = await ObjectCenters.start();
    const { objects } = centers.site('north').center;
    // Several messages long; and empty.
    const large = randomBytes(9 * 1024 * 1024 + 1);
    for (const [key, body] of [
      ['large', large],
      ['empty', ''],
      ['small', 'two apples'],
    ] as const) {
      await objects.put('orders', key, body, { metadata: { by: 'test' } });
      expect(await centers.copies('orders', key)).toEqual(Array(3).fill(sha256(body)));
    }
    await objects.put('orders', 'small', 'three apples');
    expect(await centers.copies('orders', 'small')).toEqual(Array(3).fill(sha256('three apples')));
    await objects.delete('orders', 'small');
    expect(await centers.copies('orders', 'small')).toEqual(Array(3).fill(undefined));
  });

  it('take their metadata with them even when the content stays the same', async () => {
    await using centers = await ObjectCenters.start();
    const { objects } = centers.site('north').center;
    await objects.put('orders', '1', 'two apples', { metadata: { state: 'open' } });
    await objects.put('orders', '1', 'two apples', { metadata: { state: 'paid' } });
    for (const { own } of centers.sites) {
      expect((await own.head('orders', '1')).metadata).toEqual({ state: 'paid' });
    }
  });

  it('end the same everywhere when several write one key at once', async () => {
    await using centers = await ObjectCenters.start();
    const { objects } = centers.site('north').center;
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(Array.from({ length: 6 }, (_, i) => objects.put('orders', '1', `${round} by ${i}`)));
      const copies = await centers.copies('orders', '1');
      expect(new Set(copies).size).toBe(1);
      const { info } = await objects.get('orders', '1');
      expect(copies[0]).toBe(info.sha256);
    }
  });

  it('are served by a backup after a switchover', async () => {
    await using centers = await ObjectCenters.start();
    await centers.site('north').center.objects.put('orders', '1', 'two apples');
    await centers.site('north').center.switchover('south');
    const { body } = await centers.site('south').center.objects.get('orders', '1');
    expect(Buffer.from(body).toString()).toBe('two apples');
    await expect(centers.site('north').center.objects.get('orders', '1')).rejects.toMatchObject({
      code: 'NOT_PRIMARY',
    });
  });
});

describe('anti-entropy', () => {
  it('brings back an object that a backup lost', async () => {
    await using centers = await ObjectCenters.start();
    await centers.site('north').center.objects.put('orders', '1', 'two apples', { metadata: { a: 'b' } });
    const { own } = centers.site('south');
    await own.delete('orders', '1');
    await vi.waitFor(async () => {
      const { info, body } = await own.get('orders', '1');
      expect(Buffer.from(body).toString()).toBe('two apples');
      expect(info.metadata).toEqual({ a: 'b' });
    }, EVENTUALLY);
  });

  it('replaces an object whose bytes rotted on a backup, though its header is still right', async () => {
    await using centers = await ObjectCenters.start();
    await centers.site('north').center.objects.put('orders', '1', 'two apples');
    const { own, directory } = centers.site('west');
    expect(await damage(directory, 'two apples')).toBeGreaterThan(0);
    await vi.waitFor(async () => {
      const { body } = await own.get('orders', '1');
      expect(Buffer.from(body).toString()).toBe('two apples');
    }, EVENTUALLY);
  });

  it('goes on past an object that no centre can give', async () => {
    await using centers = await ObjectCenters.start();
    const { objects } = centers.site('north').center;
    await objects.put('orders', '1-gone', 'gone everywhere');
    await objects.put('orders', '2-lost', 'lost by one');
    for (const { own } of centers.sites) await own.delete('orders', '1-gone');
    const { own, center } = centers.site('south');
    await own.delete('orders', '2-lost');
    await vi.waitFor(async () => expect((await own.head('orders', '2-lost')).sizeBytes).toBe(11), EVENTUALLY);
    await vi.waitFor(
      () => expect(center.events.map(({ message }) => message).join('\n')).toContain('orders/1-gone'),
      EVENTUALLY,
    );
  });
});

describe('a read on the primary', () => {
  it('is answered from a backup when its own copy rotted', async () => {
    await using centers = await ObjectCenters.start();
    const { center, directory } = centers.site('north');
    await center.objects.put('orders', '1', 'two apples');
    expect(await damage(directory, 'two apples')).toBeGreaterThan(0);
    const { body } = await center.objects.get('orders', '1');
    expect(Buffer.from(body).toString()).toBe('two apples');
  });

  it('is refused when primacy ended while it was under way', async () => {
    await using centers = await ObjectCenters.start();
    const { center, own } = centers.site('north');
    await center.objects.put('orders', '1', 'two apples');
    const get = vi.spyOn(own, 'get').mockImplementationOnce(async (bucket, key) => {
      const read = await own.get(bucket, key);
      await center.switchover('south');
      await centers.site('south').center.objects.put('orders', '1', 'three apples');
      return read;
    });
    await expect(center.objects.get('orders', '1')).rejects.toMatchObject({ code: 'NOT_PRIMARY' });
    get.mockRestore();
  });
});

describe("a deposed primary's object writes", () => {
  it('are refused and leave no trace when the body ends after the deposition', async () => {
    await using centers = await ObjectCenters.start();
    const { center } = centers.site('north');
    await center.objects.put('orders', '1', 'accepted');
    const deposed = Promise.withResolvers<void>();
    async function* body(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('refu');
      await deposed.promise;
      yield Buffer.from('sed');
    }
    const write = center.objects.put('orders', '1', body());
    const refused = expect(write).rejects.toMatchObject({ code: 'NOT_PRIMARY' });
    await center.switchover('south');
    deposed.resolve();
    await refused;
    expect(await centers.copies('orders', '1')).toEqual(Array(3).fill(sha256('accepted')));
    await expect(center.objects.delete('orders', '1')).rejects.toMatchObject({ code: 'NOT_PRIMARY' });
    expect(await centers.copies('orders', '1')).toEqual(Array(3).fill(sha256('accepted')));
  });

  it('are taken back when the bytes were on its own disk already', async () => {
    await using centers = await ObjectCenters.start();
    const site = centers.site('north');
    await site.center.objects.put('orders', 'old', 'accepted');
    const deposed = Promise.withResolvers<void>();
    site.hold = deposed.promise;
    const writes = ['old', 'new'].map((key) => site.center.objects.put('orders', key, 'refused'));
    const refused = Promise.all(
      writes.map((write) => expect(write).rejects.toMatchObject({ code: 'NOT_PRIMARY' })),
    );
    await vi.waitFor(async () => {
      expect((await centers.copies('orders', 'new'))[0]).toBe(sha256('refused'));
      expect((await centers.copies('orders', 'old'))[0]).toBe(sha256('refused'));
    }, EVENTUALLY);
    await site.center.switchover('south');
    site.hold = undefined;
    deposed.resolve();
    await refused;
    await vi.waitFor(async () => {
      expect(await centers.copies('orders', 'old')).toEqual(Array(3).fill(sha256('accepted')));
      expect(await centers.copies('orders', 'new')).toEqual(Array(3).fill(undefined));
    }, EVENTUALLY);
    const { body } = await centers.site('south').center.objects.get('orders', 'old');
    expect(Buffer.from(body).toString()).toBe('accepted');
  });
});
