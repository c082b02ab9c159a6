// Every driver of the event bus passes the one conformance suite.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventBus } from '@heptad/core';
import { type EventBusHarness, eventBusConformance } from '@heptad/core/conformance';
import { describe, it } from 'vitest';
import { MemoryEventBus, RemoteEventBus, SqliteEventBus, serveEventBus } from './index.ts';

async function serve(bus: EventBus): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer(serveEventBus(bus));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bus`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const harnesses: Record<string, () => Promise<EventBusHarness>> = {
  MemoryEventBus: async () => {
    const bus = new MemoryEventBus();
    return { bus, [Symbol.asyncDispose]: () => bus.close() };
  },
  SqliteEventBus: async () => {
    const directory = mkdtempSync(join(tmpdir(), 'heptad-bus-'));
    const bus = new SqliteEventBus({ path: join(directory, 'events.db') });
    return {
      bus,
      [Symbol.asyncDispose]: async () => {
        await bus.close();
        rmSync(directory, { recursive: true });
      },
    };
  },
  RemoteEventBus: async () => {
    const local = new MemoryEventBus();
    const server = await serve(local);
    const remotes = [new RemoteEventBus({ url: server.url })];
    return {
      bus: remotes[0] as EventBus,
      another: async () => {
        const other = new RemoteEventBus({ url: server.url });
        remotes.push(other);
        return other;
      },
      [Symbol.asyncDispose]: async () => {
        for (const remote of remotes) await remote.close();
        await server.close();
        await local.close();
      },
    };
  },
};

for (const [name, open] of Object.entries(harnesses)) {
  describe(`${name} keeps the EventBus contract`, () => {
    for (const conformance of eventBusConformance) {
      it(conformance.name, () => conformance.run(open));
    }
  });
}
