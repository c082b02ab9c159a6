import { chmod, copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf, freshDirectory } from '../../test/support.ts';
import { KeyManager } from './key-manager.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

async function withKey(): Promise<KeyManager> {
  const keys = KeyManager.inMemory();
  await keys.createKey('orders');
  return keys;
}

describe('KeyManager', () => {
  it('opens what it sealed, with the same key and context only', async () => {
    const keys = await withKey();
    await keys.createKey('other');
    const sealed = await keys.encrypt('orders', bytes('4 pears'), { tenant: 'a', purpose: 'x' });
    expect(sealed).toMatch(/^heptad:v1:[A-Za-z0-9+/]+=*$/);
    expect(text(await keys.decrypt('orders', sealed, { purpose: 'x', tenant: 'a' }))).toBe('4 pears');
    expect(await codeOf(keys.decrypt('orders', sealed, { tenant: 'b', purpose: 'x' }))).toBe(
      'DECRYPTION_FAILED',
    );
    expect(await codeOf(keys.decrypt('orders', sealed))).toBe('DECRYPTION_FAILED');
    expect(await codeOf(keys.decrypt('other', sealed, { tenant: 'a', purpose: 'x' }))).toBe(
      'DECRYPTION_FAILED',
    );
    expect(await codeOf(keys.decrypt('none', sealed))).toBe('KEY_NOT_FOUND');
  });

  it('round-trips any bytes and any context', async () => {
    const keys = await withKey();
    const context = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }));
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), context, async (plaintext, bound) => {
        const sealed = await keys.encrypt('orders', plaintext, bound);
        expect(Buffer.from(await keys.decrypt('orders', sealed, bound)).equals(Buffer.from(plaintext))).toBe(
          true,
        );
      }),
    );
  });

  it('answers every flipped bit and every other length with the same opaque error', async () => {
    const keys = await withKey();
    const box = Buffer.from(
      (await keys.encrypt('orders', bytes('secret'))).slice('heptad:v1:'.length),
      'base64',
    );
    const failures = new Set<string>();
    const tryOpen = async (changed: Uint8Array | string): Promise<void> => {
      const ciphertext =
        typeof changed === 'string' ? changed : `heptad:v1:${Buffer.from(changed).toString('base64')}`;
      await keys.decrypt('orders', ciphertext).then(
        () => failures.add(`opened ${ciphertext}`),
        (error: unknown) => failures.add(inspect(error).split('\n')[0] ?? ''),
      );
    };
    for (let bit = 0; bit < box.length * 8; bit += 1) {
      const changed = Buffer.from(box);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await tryOpen(changed);
    }
    // Truncated tags (Node alone would take 4 bytes), longer and shorter nonces, nothing at all.
    for (let length = 0; length < box.length; length += 1) await tryOpen(box.subarray(0, length));
    for (let length = 1; length < box.length; length += 1) await tryOpen(box.subarray(length));
    await tryOpen(Buffer.concat([Buffer.alloc(4), box]));
    await tryOpen(Buffer.concat([box, Buffer.alloc(1)]));
    for (const form of [
      '',
      'heptad:v1:',
      'heptad:v0:AAAA',
      'heptad:v01:AAAA',
      'vault:v1:AAAA',
      'heptad:v1:!!!!',
    ]) {
      await tryOpen(form);
    }
    expect([...failures]).toEqual(['SecurityError: decryption failed']);
  });

  it('accepts one text per ciphertext: base64 with stray bits is refused', async () => {
    const keys = await withKey();
    const sealed = await keys.encrypt('orders', bytes('12'));
    // 30 bytes end without padding; 31 leave 4 stray bits in the last character.
    const padded = await keys.encrypt('orders', bytes('123'));
    expect(padded.endsWith('==')).toBe(true);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
    const last = alphabet.indexOf(padded.at(-3) ?? '');
    const stray = `${padded.slice(0, -3)}${alphabet[last + 1]}==`;
    expect(await codeOf(keys.decrypt('orders', stray))).toBe('DECRYPTION_FAILED');
    expect(await codeOf(keys.decrypt('orders', ` ${sealed}`))).toBe('DECRYPTION_FAILED');
  });

  it('never repeats a nonce', async () => {
    const keys = await withKey();
    const nonces = new Set<string>();
    for (let count = 0; count < 5_000; count += 1) {
      const sealed = await keys.encrypt('orders', bytes('same'));
      nonces.add(Buffer.from(sealed.slice(10), 'base64').subarray(0, 12).toString('hex'));
    }
    expect(nonces.size).toBe(5_000);
  });

  it('rotates: the newest encrypts, old versions open until the minimum rises', async () => {
    const keys = await withKey();
    const old = await keys.encrypt('orders', bytes('a'), { t: '1' });
    expect(await keys.rotate('orders')).toBe(2);
    expect((await keys.encrypt('orders', bytes('b'))).startsWith('heptad:v2:')).toBe(true);
    expect(text(await keys.decrypt('orders', old, { t: '1' }))).toBe('a');

    const rewrapped = await keys.rewrap('orders', old, { t: '1' });
    expect(rewrapped.startsWith('heptad:v2:')).toBe(true);
    expect(await keys.rewrap('orders', rewrapped, { t: '1' })).toBe(rewrapped);
    expect(await codeOf(keys.rewrap('orders', old, { t: '2' }))).toBe('DECRYPTION_FAILED');

    await keys.config('orders', { minDecryptionVersion: 2 });
    expect(await codeOf(keys.decrypt('orders', old, { t: '1' }))).toBe('KEY_VERSION_TOO_OLD');
    expect(text(await keys.decrypt('orders', rewrapped, { t: '1' }))).toBe('a');
    await keys.config('orders', { minDecryptionVersion: 1 });
    expect(text(await keys.decrypt('orders', old, { t: '1' }))).toBe('a');
    expect(await codeOf(keys.decrypt('orders', old.replace(':v1:', ':v9:')))).toBe('KEY_VERSION_TOO_NEW');
  });

  it('retires for ever, and only what the minimum already excludes', async () => {
    const keys = await withKey();
    const old = await keys.encrypt('orders', bytes('a'));
    await keys.rotate('orders');
    expect(await codeOf(keys.retire('orders', 1))).toBe('INVALID_ARGUMENT');
    await keys.config('orders', { minDecryptionVersion: 2 });
    await keys.retire('orders', 1);
    expect(await codeOf(keys.decrypt('orders', old))).toBe('KEY_VERSION_RETIRED');
    expect(await codeOf(keys.config('orders', { minDecryptionVersion: 1 }))).toBe('INVALID_ARGUMENT');
    expect((await keys.describe('orders')).versions.map((version) => version.state)).toEqual([
      'retired',
      'latest',
    ]);
  });

  it('wraps data keys', async () => {
    const keys = await withKey();
    const { plaintext, wrapped } = await keys.dataKey('orders', { bucket: 'photos' });
    expect(plaintext).toHaveLength(32);
    expect(await keys.decrypt('orders', wrapped, { bucket: 'photos' })).toEqual(plaintext);
  });

  it('shows no key in inspect, JSON or describe', async () => {
    const directory = await freshDirectory();
    await using keys = await KeyManager.open({ path: join(directory, 'keyring.json') });
    await keys.createKey('orders');
    const shown = inspect(keys, { depth: 20, showHidden: true, getters: true }) + JSON.stringify(keys);
    expect(shown + inspect(await keys.describe('orders'), { depth: 9 })).not.toMatch(/[A-Za-z0-9+/]{43}=/);
  });
});

describe('the sealed keyring file', () => {
  it('survives reopening, privately and unreadably', async () => {
    const path = join(await freshDirectory(), 'keyring.json');
    let sealed = '';
    {
      await using keys = await KeyManager.open({ path });
      await keys.createKey('orders');
      await keys.rotate('orders');
      sealed = await keys.encrypt('orders', bytes('kept'));
    }
    await using keys = await KeyManager.open({ path });
    expect(text(await keys.decrypt('orders', sealed))).toBe('kept');
    expect((await keys.describe('orders')).versions[1]?.encryptions).toBe(1);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(`${path}.root`)).mode & 0o777).toBe(0o600);
    expect(await readFile(path, 'utf8')).not.toContain('orders');
  });

  it('counts ahead in blocks, so that a crash never undercounts encryptions', async () => {
    const path = join(await freshDirectory(), 'keyring.json');
    const crashed = await KeyManager.open({ path });
    await crashed.createKey('orders');
    await crashed.encrypt('orders', bytes('x'));
    await using keys = await KeyManager.open({ path });
    expect((await keys.describe('orders')).versions[0]?.encryptions).toBe(65_536);
    await keys.encrypt('orders', bytes('y'));
    expect((await keys.describe('orders')).versions[0]?.encryptions).toBe(65_537);
  });

  it('refuses a damaged file, says how to restore it, and touches nothing', async () => {
    const directory = await freshDirectory();
    const path = join(directory, 'keyring.json');
    {
      await using keys = await KeyManager.open({ path });
      await keys.createKey('orders');
      await keys.createKey('second');
    }
    const good = await readFile(path);
    for (const damage of [
      Buffer.alloc(0),
      good.subarray(0, 100),
      Buffer.from('{}'),
      flipped(good, good.length - 20),
    ]) {
      await writeFile(path, damage);
      const error: unknown = await KeyManager.open({ path }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({
        code: 'KEYRING_CORRUPT',
        hint: expect.stringContaining(`${path}.previous`),
      });
      expect((await readFile(path)).equals(damage)).toBe(true);
    }
    await rm(path);
    expect(await codeOf(KeyManager.open({ path }))).toBe('KEYRING_CORRUPT');
    await copyFile(`${path}.previous`, path);
    await using restored = await KeyManager.open({ path });
    expect(restored.list()).toContain('orders');
  });

  it('tells a wrong root key from a damaged file, and never makes a new one over an old keyring', async () => {
    const directory = await freshDirectory();
    const path = join(directory, 'keyring.json');
    {
      await using keys = await KeyManager.open({ path });
      await keys.createKey('orders');
    }
    await copyFile(`${path}.root`, join(directory, 'kept'));
    await writeFile(`${path}.root`, Buffer.alloc(32, 7).toString('base64'), { mode: 0o600 });
    expect(await codeOf(KeyManager.open({ path }))).toBe('WRONG_ROOT_KEY');
    await rm(`${path}.root`);
    expect(await codeOf(KeyManager.open({ path }))).toBe('ROOT_KEY_MISSING');
    expect(await codeOf(KeyManager.open({ path, root: { passphrase: 'x' } }))).toBe('WRONG_ROOT_KEY');
    await copyFile(join(directory, 'kept'), `${path}.root`);
    await chmod(`${path}.root`, 0o644);
    expect(await codeOf(KeyManager.open({ path }))).toBe('INSECURE_FILE');
  });

  it('opens with a passphrase as well', async () => {
    const path = join(await freshDirectory(), 'keyring.json');
    {
      await using keys = await KeyManager.open({ path, root: { passphrase: 'correct horse battery' } });
      await keys.createKey('orders');
    }
    expect(await codeOf(KeyManager.open({ path, root: { passphrase: 'wrong' } }))).toBe('WRONG_ROOT_KEY');
    await using keys = await KeyManager.open({ path, root: { passphrase: 'correct horse battery' } });
    expect(keys.list()).toEqual(['orders']);
  });

  it('refuses to undo the changes of another owner', async () => {
    const path = join(await freshDirectory(), 'keyring.json');
    const first = await KeyManager.open({ path });
    await first.createKey('a');
    await using second = await KeyManager.open({ path });
    await second.createKey('b');
    expect(await codeOf(first.createKey('c'))).toBe('KEYRING_CHANGED');
    expect(first.list()).toEqual(['a']);
  });
});

function flipped(data: Buffer, at: number): Buffer {
  const copy = Buffer.from(data);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
