// A node's face: who may speak to it, what it refuses, whose directory it opens.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { objectId, sha256Hex } from '../model/version.ts';
import { packVersionHeader } from '../wire/protocol.ts';
import { StorageNode, type StorageNodeOptions } from './storage-node.ts';

const token = 'the-token-of-the-unit-test';

describe('StorageNode', () => {
  let root: string;
  let node: StorageNode;
  const options = (more: Partial<StorageNodeOptions> = {}): StorageNodeOptions => ({
    id: 'a',
    directory: join(root, 'a'),
    capacityBytes: 1024 ** 2,
    token,
    ...more,
  });
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'heptad-node-'));
    node = await StorageNode.start(options());
  });
  afterEach(async () => {
    await node.close();
    await rm(root, { recursive: true, force: true });
  });
  const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`http://${node.address}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${token}`, ...init.headers },
    });

  it('answers strangers nothing but its health', async () => {
    expect((await fetch(`http://${node.address}/healthz`)).status).toBe(200);
    for (const authorization of [
      '',
      'Bearer wrong',
      `bearer ${token}`,
      `Bearer ${token} `.trim().slice(0, -1),
    ]) {
      const response = await ask('/status', { headers: { authorization } });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ code: 'UNAUTHENTICATED' });
    }
    expect((await ask('/status')).status).toBe(200);
  });

  it('refuses bytes that changed on the way, bodies that are too large, and ids that are not theirs', async () => {
    const id = objectId('docs', 'x');
    const body = 'the bytes';
    const base = { bucket: 'docs', key: 'x', tag: '0000000000000001.8000000000000000', lastModified: 0 };
    const header = { ...base, sha256: sha256Hex(body), sizeBytes: body.length, metadata: {}, deleted: false };
    const put = (to: string, sent: string, packed = packVersionHeader(header)): Promise<Response> =>
      ask(`/objects/${to}`, { method: 'PUT', body: sent, headers: { 'x-heptad-version': packed } });
    expect((await put(id, body)).status).toBe(200);
    expect(await (await put(id, 'the bytez')).json()).toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    expect((await put(objectId('docs', 'y'), body)).status).toBe(400);
    expect((await put('nonsense', body)).status).toBe(400);
    expect((await put(id, body, 'bm90IGpzb24')).status).toBe(400);
    const late = { ...header, tag: 'ffffffffffffffff.8000000000000000' };
    expect(await (await put(id, body, packVersionHeader(late))).json()).toMatchObject({ code: 'CLOCK_SKEW' });
    const huge = await ask('/layout', { method: 'PUT', body: 'x'.repeat(5 * 1024 * 1024) }).catch(
      () => undefined,
    );
    expect(huge?.status ?? 413).toBe(413);
    expect((await ask('/layout', { method: 'PUT', body: '{"version":' })).status).toBe(400);
    expect((await ask('/nowhere')).status).toBe(404);
    expect((await ask('/partitions/256')).status).toBe(400);
  });

  it('closes although clients keep asking over connections that stay open', async () => {
    let asked = 0;
    const busy = (async () => {
      for (;;) {
        const response = await ask('/status').catch(() => undefined);
        if (response === undefined) return;
        await response.arrayBuffer();
        asked += 1;
      }
    })();
    while (asked < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    await node.close();
    await busy;
    await expect(ask('/status')).rejects.toThrow();
  });

  it('opens a directory once, for its own id only, and not on a port that is taken', async () => {
    await expect(StorageNode.start(options())).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
    const port = Number(node.address.split(':')[1]);
    await expect(StorageNode.start(options({ directory: join(root, 'b'), port }))).rejects.toMatchObject({
      code: 'PORT_IN_USE',
    });
    await node.close();
    await expect(StorageNode.start(options({ id: 'b' }))).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
    node = await StorageNode.start(options());
  });

  it('refuses options that cannot work', async () => {
    for (const bad of [
      { id: '' },
      { id: 'a/b' },
      { capacityBytes: 0 },
      { capacityBytes: 1.5 },
      { token: 'short' },
    ]) {
      await expect(StorageNode.start(options(bad))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });
});
