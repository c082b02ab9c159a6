// kill -9 in the middle of publishes and deliveries: nothing acknowledged is lost.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { RemoteEventBus, SqliteEventBus, serveEventBus } from '@heptad/mesh/events';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, until, wait } from './fixtures.ts';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});
function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'heptad-kill-'));
  directories.push(directory);
  return join(directory, 'events.db');
}

const PUBLISHER = join(import.meta.dirname, 'event-publisher.ts');

/** Runs the publisher, kills it after `lines` acknowledgements, answers what it had acknowledged. */
async function publishAndKill(path: string, round: number, lines: number): Promise<string[]> {
  const child = spawn(process.execPath, ['--conditions=heptad-source', PUBLISHER, path, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(line);
    if (acknowledged.length === lines) child.kill('SIGKILL');
  }
  return acknowledged;
}

describe('kill -9 of the process that owns the log', () => {
  it('in the middle of publishes loses no acknowledged event and leaves no gap', async () => {
    const path = place();
    const acknowledged: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      acknowledged.push(...(await publishAndKill(path, round, 100 + round * 37)));
    }
    const bus = new SqliteEventBus({ path });
    const stored = new Map<string, number>();
    for (let after = 0; ; ) {
      const events = await bus.read('orders', { after, limit: 1_000 });
      for (const event of events) {
        expect(event.position).toBe(after + 1);
        after = event.position;
        stored.set(String(event.data), event.position);
      }
      if (events.length === 0) break;
    }
    expect(acknowledged.length).toBeGreaterThan(800);
    for (const line of acknowledged) {
      const [data, position] = line.split(' ');
      expect(stored.get(data ?? '')).toBe(Number(position));
    }
    await bus.close();
  });

  it('a group goes on where it was, and what was out comes again with its attempt counted', async () => {
    const path = place();
    const bus = new SqliteEventBus({ path });
    for (let n = 1; n <= 10; n += 1) await bus.publish('orders', { data: n });
    await bus.close();
    const child = spawn(process.execPath, ['--conditions=heptad-source', PUBLISHER, path, 'consume'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // It settles 1 to 3, then sits on 4.
    for await (const line of createInterface({ input: child.stdout }))
      if (line === 'holding 4') child.kill('SIGKILL');
    const again = new SqliteEventBus({ path });
    const got: [number, number][] = [];
    again.subscribe(
      'orders',
      { group: 'g' },
      async (event) => void got.push([event.position, event.attempt]),
    );
    await until('the rest', () => got.length === 7);
    expect(got[0]).toEqual([4, 2]);
    expect(got.map(([position]) => position)).toEqual([4, 5, 6, 7, 8, 9, 10]);
    await again.close();
  });
});

describe('a server that goes away and comes back', () => {
  it('publishers wait and publish once, subscribers reconnect and get everything', async () => {
    const path = place();
    const port = await freePort();
    let bus = new SqliteEventBus({ path });
    let server = createServer(serveEventBus(bus));
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const remote = new RemoteEventBus({ url: `http://127.0.0.1:${port}/bus` });
    const got: unknown[] = [];
    remote.subscribe('orders', { group: 'g' }, async (event) => void got.push(event.data));
    const published: Promise<number>[] = [];
    for (let n = 0; n < 60; n += 1) {
      published.push(remote.publish('orders', { data: n }));
      await wait(5);
      if (n === 20) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
        await bus.close();
      }
      if (n === 40) {
        bus = new SqliteEventBus({ path });
        server = createServer(serveEventBus(bus));
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
      }
    }
    const positions = await Promise.all(published);
    expect(new Set(positions).size).toBe(60);
    await until('all', () => new Set(got).size === 60);
    expect(await remote.read('orders', { limit: 1_000 })).toHaveLength(60);
    await remote.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await bus.close();
  });

  it('a token is needed where the server asks for one', async () => {
    const bus = new SqliteEventBus({ path: place() });
    const server = createServer(
      serveEventBus(bus, {
        authorize: (request, access) =>
          request.headers.authorization === 'Bearer good' && access.topic !== 'secret',
      }),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const bad = new RemoteEventBus({ url, token: 'bad' });
    const good = new RemoteEventBus({ url, token: async () => 'good' });
    await expect(bad.publish('t', { data: 1 })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await good.publish('t', { data: 1 })).toBe(1);
    await expect(good.publish('secret', { data: 1 })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await bad.close();
    await good.close();
    await new Promise((resolve) => server.close(resolve));
    await bus.close();
  });
});

describe('a file that is not ours', () => {
  it('is refused, named and left as it is', async () => {
    const path = place();
    writeFileSync(
      path,
      'this is no database, but it is long enough to have a header of its own: '.repeat(20),
    );
    expect(() => new SqliteEventBus({ path })).toThrow(
      expect.objectContaining({ code: 'EVENT_LOG_CORRUPT', message: expect.stringContaining(path) }),
    );
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(path, 'utf8').startsWith('this is no database')).toBe(true);
  });
});
