// `pnpm soak [MINUTES]`: the shop under load, with replicas scaled and killed all the time; prints what grows.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerResource } from '@heptad/core';
import { testPlace } from './support/platform.ts';
import { heptad, heptadJson, npmStart } from './support/run.ts';

const minutes = Number(process.argv[2] ?? 10);
const CLIENTS = 4;
const ROUND_MS = 30_000;

/** What one process of the platform holds. */
interface Held {
  readonly residentMb: number;
  readonly files: number;
}

function held(pid: number): Held {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kb = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  return { residentMb: Math.round(kb / 1024), files: readdirSync(`/proc/${pid}/fd`).length };
}

await using place = await testPlace();
const platform = await npmStart(place);
const pidOf = (name: string): number =>
  JSON.parse(readFileSync(join(place.home, 'run', `${name}.pid`), 'utf8')).pid;
const parts = ['server', 'agent', 'proxy', 'storage-1', 'storage-2', 'storage-3'];
const rows: string[][] = [];

function sample(label: string): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(place.home)).length;
  const namespaces = readdirSync('/run/netns').length;
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
  const figures = parts
    .map((name) => held(pidOf(name)))
    .map(({ residentMb, files }) => `${residentMb} MB/${files}`);
  rows.push([label, ...figures, String(mounts), String(namespaces), String(processes)]);
  console.log(rows.at(-1)?.join('  '));
}

let requests = 0;
let failures = 0;
let stop = false;
const clients = Array.from({ length: CLIENTS }, async () => {
  while (!stop) {
    try {
      const answer = await fetch(`http://127.0.0.1:${place.shopPort}/`, {
        signal: AbortSignal.timeout(10_000),
      });
      await answer.arrayBuffer();
      if (!answer.ok) failures += 1;
    } catch {
      failures += 1;
    }
    requests += 1;
  }
});

console.log(
  ['when', ...parts.map((name) => `${name} memory/files`), 'mounts', 'netns', 'processes'].join('  '),
);
sample('start');
const end = Date.now() + minutes * 60_000;
for (let round = 1; Date.now() < end; round += 1) {
  await heptad(place, ['scale', `catalog=${round % 2 === 0 ? 2 : 4}`]);
  const [victim] = (await heptadJson<ContainerResource[]>(place, ['ps', 'orders'])).filter(
    (one) => one.status.ready,
  );
  if (victim !== undefined) {
    const { pid } = await heptadJson<{ pid: number }>(place, ['containers', victim.name]);
    process.kill(pid, 'SIGKILL');
  }
  await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
  sample(`round ${round}`);
}
stop = true;
await Promise.all(clients);
console.log(`${requests} requests, ${failures} failed`);
await heptad(place, ['scale', 'catalog=2']);
await heptad(place, ['wait', 'catalog', '--for', 'ready']);
sample('end');
await platform.interrupt();
console.log(
  platform.output().includes('nothing of ours is left running') ? 'stopped cleanly' : 'DID NOT STOP CLEANLY',
);
