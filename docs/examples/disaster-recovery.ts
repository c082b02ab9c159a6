// Three centres; the primary is taken away; another one takes over with everything that was acknowledged.

import { createServer } from 'node:net';
import { MemoryStateStore } from '@heptad/core';
import { DisasterRecovery, Topology } from '@heptad/dr';

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const names = ['north', 'south', 'west'];
const ports = await Promise.all(names.map(freePort));
const topology = new Topology({
  primary: 'north',
  centers: names.map((name, index) => ({ name, address: `127.0.0.1:${ports[index]}` })),
});
const centers = await Promise.all(
  names.map((name) => DisasterRecovery.start({ topology, self: name, store: new MemoryStateStore() })),
);

/** The centre of `candidates` that becomes primary first. */
async function primaryOf(candidates: readonly DisasterRecovery[]): Promise<DisasterRecovery> {
  const decided = new AbortController();
  const signal = AbortSignal.any([decided.signal, AbortSignal.timeout(30_000)]);
  const winner = await Promise.any(candidates.map((center) => center.whenPrimary(signal).then(() => center)));
  decided.abort();
  return winner;
}

const first = await primaryOf(centers);
console.log(first.self, 'is primary:', first.explain().decision);
await first.state.txn({ compare: [], success: [{ op: 'put', key: '/orders/1', value: 'two apples' }] });

const begin = performance.now();
await first[Symbol.asyncDispose]();
const others = centers.filter((center) => center !== first);
const second = await primaryOf(others);
console.log(second.self, `took over after ${Math.round(performance.now() - begin)} ms`);
const { kvs } = await second.state.range({ key: '/orders/1' });
console.log('the order is still there:', kvs[0]?.value);

for (const center of others) await center[Symbol.asyncDispose]();
