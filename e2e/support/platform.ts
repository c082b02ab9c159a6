// A platform of a test's own: temporary home, free ports, its own bridge and subnets.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));

/** Below the ports that Linux gives to outgoing connections, so that none of them takes one of ours meanwhile. */
const FIRST_PORT = 20_000;
const PORT_SPAN = 11_000;

function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

/** The first of `count` ports in a row that nobody uses now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const first = FIRST_PORT + Math.floor(Math.random() * PORT_SPAN);
    const row = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (row.every(Boolean)) return first;
  }
  throw new Error('no row of free ports');
}

/** Where a test's platform lives. */
export interface TestPlace extends AsyncDisposable {
  readonly home: string;
  readonly bridge: string;
  readonly server: string;
  readonly shopPort: number;
  /** Everything a process of the platform needs to find this place. */
  readonly environment: Record<string, string>;
}

let places = 0;

/** A fresh place; its folder is removed at the end. */
export async function testPlace(): Promise<TestPlace> {
  places += 1;
  // Ranges apart from the platform's defaults and from those of other tests on this machine.
  const octet = 100 + ((process.pid + places) % 100);
  const home = await mkdtemp(join(tmpdir(), 'heptad-e2e-'));
  const port = await freePorts(20);
  const shopPort = port + 19;
  const bridge = `hpt${process.pid % 10_000}x${places}`;
  return {
    home,
    bridge,
    shopPort,
    server: `http://127.0.0.1:${port}`,
    environment: {
      HEPTAD_HOME: home,
      HEPTAD_PORT: String(port),
      HEPTAD_OTLP_PORT: String(port + 5),
      HEPTAD_BRIDGE: bridge,
      HEPTAD_SUBNET: `10.${octet}.0.0/20`,
      HEPTAD_GATEWAY: `10.${octet}.0.1`,
      HEPTAD_VIRTUAL_CIDR: `10.${octet}.16.0/20`,
      HEPTAD_SERVER: `http://127.0.0.1:${port}`,
      SHOP_PORT: String(shopPort),
    },
    [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }),
  };
}
