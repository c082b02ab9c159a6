// The real ports against the machine: files, sockets, time, chance.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeDisk, nodeNetwork, systemClock, systemRandom } from '../../index.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (data: Uint8Array): string => Buffer.from(data).toString();

describe('nodeDisk', () => {
  it('reads what was written, at any offset, and names what is wrong', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'heptad-disk-'));
    try {
      const path = join(directory, 'deep', 'file');
      await nodeDisk.makeDirectory(join(directory, 'deep'));
      {
        await using file = await nodeDisk.open(path, 'create-new');
        await file.write(5, bytes('world'));
        await file.write(0, bytes('hello'));
        await file.datasync();
        expect(await file.size()).toBe(10);
        expect(text(await file.read(3, 100))).toBe('loworld');
        await file.truncate(5);
      }
      await expect(nodeDisk.open(path, 'create-new')).rejects.toMatchObject({ code: 'FILE_EXISTS' });
      await nodeDisk.rename(path, `${path}2`);
      await nodeDisk.syncDirectory(join(directory, 'deep'));
      expect(await nodeDisk.list(join(directory, 'deep'))).toEqual(['file2']);
      expect([await nodeDisk.exists(path), await nodeDisk.exists(`${path}2`)]).toEqual([false, true]);
      await expect(nodeDisk.open(path, 'read')).rejects.toMatchObject({
        code: 'FILE_NOT_FOUND',
        message: expect.stringContaining(path),
      });
      {
        await using again = await nodeDisk.open(`${path}2`, 'write');
        expect(text(await again.read(0, 10))).toBe('hello');
      }
      await nodeDisk.remove(`${path}2`);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

describe('nodeNetwork', () => {
  it('carries messages of any size in order, both ways, and ends with the other side', async () => {
    await using listener = await nodeNetwork.listen('127.0.0.1:0', async (connection) => {
      for await (const message of connection.receive()) await connection.send(message);
      await connection.close();
    });
    const connection = await nodeNetwork.dial(listener.address);
    const sent = ['', 'a', 'é'.repeat(10), 'x'.repeat(3_000_000), 'end'];
    for (const each of sent) await connection.send(bytes(each));
    const got: string[] = [];
    for await (const message of connection.receive()) {
      got.push(text(message));
      if (got.length === sent.length) await connection.close();
    }
    expect(got).toEqual(sent);
    await expect(connection.send(bytes('late'))).rejects.toMatchObject({ code: 'CONNECTION_BROKEN' });
  });

  it('says what cannot be dialled or listened on', async () => {
    await expect(nodeNetwork.dial('127.0.0.1:1')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await expect(nodeNetwork.dial('nonsense')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await using listener = await nodeNetwork.listen('127.0.0.1:0', () => {});
    await expect(nodeNetwork.listen(listener.address, () => {})).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
    });
    await expect(nodeNetwork.dial(listener.address, AbortSignal.abort(new Error('no')))).rejects.toThrow(
      'no',
    );
  });

  it('a listener that closes breaks its connections', async () => {
    const listener = await nodeNetwork.listen('127.0.0.1:0', () => {});
    const connection = await nodeNetwork.dial(listener.address);
    await connection.send(bytes('x'));
    await listener.close();
    const received: Uint8Array[] = [];
    await (async () => {
      for await (const message of connection.receive()) received.push(message);
    })().catch(() => {});
    expect(received).toEqual([]);
  });
});

describe('systemClock and systemRandom', () => {
  it('sleep waits, and wakes with the reason of its signal', async () => {
    const started = systemClock.monotonicMs();
    await systemClock.sleep(5);
    expect(systemClock.monotonicMs()).toBeGreaterThan(started);
    const stop = new AbortController();
    const sleeping = systemClock.sleep(60_000, stop.signal);
    stop.abort(new Error('up'));
    await expect(sleeping).rejects.toThrow('up');
  });

  it('timers can be cancelled, and longer than Node allows do not fire at once', async () => {
    let fired = false;
    const far = systemClock.timer(2 ** 40, () => {
      fired = true;
    });
    systemClock
      .timer(1, () => {
        fired = true;
      })
      .cancel();
    await systemClock.sleep(20);
    far.cancel();
    expect(fired).toBe(false);
  });

  it('UUIDs sort by their time', () => {
    const ids = [1000, 2000, 3000].map((ms) => systemRandom.uuid(ms));
    expect([...ids].sort()).toEqual(ids);
    expect(systemRandom.integer(1)).toBe(0);
    expect(() => systemRandom.integer(0)).toThrow(/whole number/);
    expect(systemRandom.bytes(16).length).toBe(16);
  });
});
