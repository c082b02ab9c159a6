import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStateStore } from '@heptad/core';
import { CloudNativeSecurity } from '@heptad/security';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  adoptKeyring,
  publishKeyring,
  SHARED_KEYRING_KEY,
  sealBundle,
  unsealBundle,
} from './shared-keyring.ts';

const SECRET = 'a secret of thirty-two bytes or more';
let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'keyring-'));
});
afterEach(() => rm(base, { recursive: true }));

async function openAt(name: string, store: MemoryStateStore): Promise<CloudNativeSecurity> {
  const directory = join(base, name);
  await adoptKeyring(store, directory, SECRET);
  const security = await CloudNativeSecurity.open({
    directory,
    store,
    auditName: name,
    onKeyringSaved: () => publishKeyring(store, directory, SECRET),
  });
  await publishKeyring(store, directory, SECRET);
  return security;
}

describe('the shared keyring', () => {
  it('lets a successor decrypt what its predecessor encrypted, in both directions', async () => {
    await using store = new MemoryStateStore();
    const north = await openAt('north', store);
    await north.keys.createKey('orders');
    const first = await north.keys.encrypt('orders', Buffer.from('4 pears'), {});
    await north[Symbol.asyncDispose]();
    const south = await openAt('south', store);
    expect(Buffer.from(await south.keys.decrypt('orders', first, {})).toString()).toBe('4 pears');
    await south.keys.rotate('orders');
    const second = await south.keys.encrypt('orders', Buffer.from('5 plums'), {});
    await south[Symbol.asyncDispose]();
    await using again = await openAt('north', store);
    expect(Buffer.from(await again.keys.decrypt('orders', second, {})).toString()).toBe('5 plums');
  });

  it('keeps the keyring it replaces, and files only their owner can read', async () => {
    await using store = new MemoryStateStore();
    await using lonely = new MemoryStateStore();
    const south = await openAt('south', lonely);
    await south.keys.createKey('own');
    await south[Symbol.asyncDispose]();
    const before = await readFile(join(base, 'south', 'keyring.json'), 'utf8');
    const north = await openAt('north', store);
    await north.keys.createKey('orders');
    await north[Symbol.asyncDispose]();
    expect(await adoptKeyring(store, join(base, 'south'), SECRET)).toBe(true);
    expect(await readFile(join(base, 'south', 'keyring.json.replaced'), 'utf8')).toBe(before);
    for (const name of ['keyring.json', 'keyring.json.root', 'keyring.json.replaced'])
      expect((await stat(join(base, 'south', name))).mode & 0o777).toBe(0o600);
    expect(await adoptKeyring(store, join(base, 'south'), SECRET)).toBe(false);
  });

  it('is nothing without the secret', async () => {
    await using store = new MemoryStateStore();
    const north = await openAt('north', store);
    await north.keys.createKey('orders');
    await north[Symbol.asyncDispose]();
    const sealed = (await store.range({ key: SHARED_KEYRING_KEY })).kvs[0]?.value ?? '';
    expect(Buffer.from(sealed, 'base64').toString('latin1')).not.toContain('keyring');
    await expect(
      adoptKeyring(store, join(base, 'south'), 'another secret of enough bytes ..'),
    ).rejects.toMatchObject({
      code: 'WRONG_CENTER_SECRET',
    });
    const box = sealBundle({ 'keyring.json': 'a', 'keyring.json.root': 'b' }, SECRET);
    const damaged = `${box.slice(0, 20)}${box[20] === 'A' ? 'B' : 'A'}${box.slice(21)}`;
    expect(() => unsealBundle(damaged, SECRET)).toThrow(/another secret/);
  });
});
