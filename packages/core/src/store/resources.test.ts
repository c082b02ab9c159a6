// Resources: what is stored, what is refused, and what races leave.

import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../sim/virtual-clock.ts';
import { MemoryStateStore } from './memory.ts';
import type { ResourceChange } from './resource-types.ts';
import { Resources } from './resources.ts';

function fresh() {
  const clock = new VirtualClock();
  const store = new MemoryStateStore({ clock });
  return { clock, store, centers: new Resources(store, 'Center', { clock }) };
}

const spec = { address: '10.0.0.1:7070' };

describe('apply', () => {
  it('creates with identity, defaults and initial status, stored as JSON without its revision', async () => {
    const { store, centers, clock } = fresh();
    const made = await centers.apply({ name: 'north', spec, labels: { a: '1' } });
    expect(made).toMatchObject({
      kind: 'Center',
      namespace: 'default',
      name: 'north',
      generation: 1,
      revision: 1,
      createdAt: clock.now(),
      finalizers: [],
      spec: { ...spec, preferred: false, witness: false },
      status: { role: 'backup', generation: 0 },
    });
    const { kvs } = await store.range({ key: '/resources/Center/default/north' });
    const { revision: _, ...stored } = made;
    expect(JSON.parse(kvs[0]?.value ?? '')).toEqual(stored);
    expect(await centers.get('north')).toEqual(made);
  });

  it('raises the generation only when the spec changes, and writes nothing when nothing does', async () => {
    const { centers } = fresh();
    await centers.apply({ name: 'north', spec });
    expect(await centers.apply({ name: 'north', spec })).toMatchObject({ generation: 1, revision: 1 });
    expect(await centers.apply({ name: 'north', spec, labels: { a: '1' } })).toMatchObject({
      generation: 1,
      revision: 2,
    });
    const changed = await centers.apply({ name: 'north', spec: { address: 'b:1' } });
    expect(changed).toMatchObject({ generation: 2, revision: 3, labels: { a: '1' } });
  });

  it('keeps the status of one that is there', async () => {
    const { centers } = fresh();
    const status = { role: 'primary', generation: 3, message: 'up' } as const;
    await centers.apply({ name: 'north', spec, status });
    const again = await centers.apply({
      name: 'north',
      spec: { address: 'b:1' },
      status: { ...status, role: 'fenced' },
    });
    expect(again.status).toEqual(status);
  });

  it('refuses with every problem and its path, and stores nothing', async () => {
    const { store, centers } = fresh();
    const nonsense = { address: 5, extra: true } as unknown as typeof spec;
    await expect(centers.apply({ name: 'Bad Name', spec: nonsense })).rejects.toMatchObject({
      code: 'INVALID_RESOURCE',
      message: expect.stringMatching(/name: .*spec\.address: .*/s),
      details: { issues: expect.arrayContaining([expect.objectContaining({ path: 'spec.address' })]) },
    });
    expect((await store.range({ key: '', prefix: true })).kvs).toEqual([]);
  });

  it('ifRevision: only over that revision, 0 only where none is', async () => {
    const { centers } = fresh();
    const conflict = { code: 'REVISION_CONFLICT' };
    await expect(centers.apply({ name: 'north', spec }, { ifRevision: 1 })).rejects.toMatchObject(conflict);
    await centers.apply({ name: 'north', spec }, { ifRevision: 0 });
    await expect(centers.apply({ name: 'north', spec }, { ifRevision: 0 })).rejects.toMatchObject(conflict);
    await centers.apply({ name: 'north', spec: { address: 'b:1' } }, { ifRevision: 1 });
    await expect(centers.remove('north', { ifRevision: 1 })).rejects.toMatchObject(conflict);
  });

  it('a dry run validates and answers, and writes nothing', async () => {
    const { store, centers } = fresh();
    const planned = await centers.apply({ name: 'north', spec }, { dryRun: true });
    expect(planned).toMatchObject({ generation: 1, revision: 0 });
    expect((await store.range({ key: '', prefix: true })).revision).toBe(0);
  });

  it('a resource with a lease goes with it, and later writes keep the lease', async () => {
    const { clock, store, centers } = fresh();
    const { id } = await store.grantLease({ ttlMs: 1000 });
    await centers.apply({ name: 'north', spec }, { leaseId: id });
    await centers.updateStatus('north', ({ status }) => ({ ...status, message: 'seen' }));
    await centers.apply({ name: 'north', spec: { address: 'b:1' } });
    await clock.advance(1000);
    expect(await centers.find('north')).toBeUndefined();
  });
});

describe('updateStatus and update', () => {
  it('lose no update, however many write at once', async () => {
    const { centers } = fresh();
    await centers.apply({ name: 'north', spec });
    await Promise.all(
      Array.from({ length: 30 }, () =>
        centers.updateStatus('north', ({ status }) => ({ ...status, generation: status.generation + 1 })),
      ),
    );
    expect((await centers.get('north')).status.generation).toBe(30);
  });

  it('undefined and an equal status write nothing', async () => {
    const { centers } = fresh();
    await centers.apply({ name: 'north', spec });
    await centers.updateStatus('north', () => undefined);
    expect((await centers.updateStatus('north', ({ status }) => ({ ...status }))).revision).toBe(1);
  });

  it('ifGeneration refuses when the spec has moved on', async () => {
    const { centers } = fresh();
    await centers.apply({ name: 'north', spec });
    await centers.apply({ name: 'north', spec: { address: 'b:1' } });
    const write = centers.updateStatus('north', ({ status }) => ({ ...status, message: 'x' }), {
      ifGeneration: 1,
    });
    await expect(write).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
  });

  it('update keeps identity, counts generations and validates', async () => {
    const { centers } = fresh();
    const made = await centers.apply({ name: 'north', spec });
    const updated = await centers.update('north', (current) => ({
      ...current,
      id: 'another',
      name: 'other',
      generation: 99,
      spec: { ...current.spec, preferred: true },
    }));
    expect(updated).toMatchObject({ id: made.id, name: 'north', generation: 2, spec: { preferred: true } });
    const bad = centers.update('north', (current) => ({ ...current, labels: { a: 5 as unknown as string } }));
    await expect(bad).rejects.toMatchObject({ code: 'INVALID_RESOURCE' });
  });

  it('a missing one is NOT_FOUND', async () => {
    const { centers } = fresh();
    const missing = { code: 'NOT_FOUND' };
    await expect(centers.get('x')).rejects.toMatchObject(missing);
    await expect(centers.update('x', (c) => c)).rejects.toMatchObject(missing);
    await expect(centers.updateStatus('x', () => undefined)).rejects.toMatchObject(missing);
    await expect(centers.remove('x')).rejects.toMatchObject(missing);
    await centers.removeFinalizer('x', 'f');
  });
});

describe('remove', () => {
  it('deletes at once without finalizers; with them it marks, and the last one to go takes it along', async () => {
    const { centers, clock } = fresh();
    await centers.apply({ name: 'plain', spec });
    expect(await centers.remove('plain')).toBe('deleted');
    await centers.apply({ name: 'north', spec, finalizers: ['disk', 'network'] });
    expect(await centers.remove('north')).toBe('marked');
    expect((await centers.get('north')).deletedAt).toBe(clock.now());
    expect(await centers.remove('north')).toBe('marked');
    await expect(centers.apply({ name: 'north', spec })).rejects.toMatchObject({
      code: 'REVISION_CONFLICT',
      retryable: true,
    });
    await centers.removeFinalizer('north', 'disk');
    expect(await centers.find('north')).toBeDefined();
    await centers.removeFinalizer('north', 'network');
    expect(await centers.find('north')).toBeUndefined();
  });
});

describe('list and watch', () => {
  it('list is in name order, by labels, of one namespace', async () => {
    const { store, centers } = fresh();
    for (const name of ['b', 'a', 'c']) {
      await centers.apply({ name, spec, labels: { first: String(name === 'a') } });
    }
    await new Resources(store, 'Center', { namespace: 'other' }).apply({ name: 'x', spec });
    const { items, revision } = await centers.list();
    expect([items.map(({ name }) => name), revision]).toEqual([['a', 'b', 'c'], 4]);
    expect((await centers.list({ labels: { first: 'true' } })).items.map(({ name }) => name)).toEqual(['a']);
  });

  it('watch shows puts and deletes with the previous resource, of this kind and namespace only', async () => {
    const { store, centers } = fresh();
    await new Resources(store, 'Quota').apply({ name: 'q', spec: {} });
    await centers.apply({ name: 'north', spec });
    await centers.remove('north');
    const stop = new AbortController();
    const changes: ResourceChange<'Center'>[] = [];
    for await (const batch of centers.watch({ fromRevision: 1, signal: stop.signal })) {
      changes.push(...batch);
      if (changes.length === 2) stop.abort();
    }
    expect(changes[0]).toMatchObject({ type: 'put', resource: { name: 'north', revision: 2 } });
    expect(changes[1]).toMatchObject({
      type: 'delete',
      name: 'north',
      previous: { name: 'north', revision: 2 },
    });
  });

  it('a key that somebody else wrote is INVALID_RESOURCE naming it', async () => {
    const { store, centers } = fresh();
    const key = '/resources/Center/default/odd';
    for (const value of ['not json', '5', '{"kind":"Quota"}']) {
      await store.txn({ compare: [], success: [{ op: 'put', key, value }] });
      await expect(centers.list()).rejects.toMatchObject({
        code: 'INVALID_RESOURCE',
        message: expect.stringContaining(key),
      });
    }
  });
});
