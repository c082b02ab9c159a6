// Three centres: the primary is cut off, another takes over by itself, and by command everything goes home again.

import { randomBytes } from 'node:crypto';
import type { ContainerResource } from '@heptad/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CENTERS, CenterMachines, type CenterName, SHOP_PORT } from './support/centers.ts';
import { processesOf } from './support/machine.ts';
import { eventually } from './support/run.ts';

let centers: CenterMachines;
const acknowledged: string[] = [];

const shop = (name: CenterName, path: string): string =>
  `http://${centers.machines[name].address}:${SHOP_PORT}${path}`;

/** Places an order; its id when it was acknowledged. Anything else is no promise. */
async function placeOrder(at: CenterName): Promise<string | undefined> {
  const answer = await fetch(shop(at, '/orders'), {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: 'cart=forest-honey:1' },
    body: new URLSearchParams({ orderKey: randomBytes(16).toString('hex'), customer: 'e2e' }),
    signal: AbortSignal.timeout(5_000),
  });
  await answer.arrayBuffer();
  if (answer.status !== 303) return undefined;
  return /^\/orders\/([^?]+)/.exec(answer.headers.get('location') ?? '')?.[1];
}

async function placeSome(at: CenterName, count: number): Promise<void> {
  const before = acknowledged.length;
  await eventually(
    async () => {
      const id = await placeOrder(at).catch(() => undefined);
      if (id !== undefined) acknowledged.push(id);
      return acknowledged.length - before;
    },
    (placed) => placed >= count,
    90_000,
  );
}

async function missingAt(at: CenterName): Promise<string[]> {
  const found = await Promise.all(
    acknowledged.map(async (id) => {
      const answer = await fetch(shop(at, `/orders/${id}`), { signal: AbortSignal.timeout(10_000) }).catch(
        () => undefined,
      );
      await answer?.arrayBuffer();
      return answer?.status === 200;
    }),
  );
  return acknowledged.filter((_, index) => !found[index]);
}

async function allOrdersAt(at: CenterName): Promise<void> {
  expect(
    await eventually(
      () => missingAt(at),
      (ids) => ids.length === 0,
      60_000,
    ),
  ).toEqual([]);
}

const roleAt = async (name: CenterName): Promise<string | undefined> => {
  const { server } = centers.machines[name].place;
  const answer = await fetch(`${server}/healthz`, { signal: AbortSignal.timeout(2_000) }).catch(
    () => undefined,
  );
  return ((await answer?.json()) as { role: string } | undefined)?.role;
};

const becomesPrimary = (name: CenterName): Promise<unknown> =>
  eventually(
    () => roleAt(name),
    (role) => role === 'primary',
    60_000,
  );

interface Status {
  readonly center: { readonly backups: readonly { backup: string; state: string }[] };
}

const backupsFollow = (primary: CenterName): Promise<unknown> =>
  eventually(
    () => centers.heptadJson<Status>(primary, ['dr', 'status']),
    ({ center }) => center.backups.length === 2 && center.backups.every(({ state }) => state === 'streaming'),
    60_000,
  );

beforeAll(async () => {
  centers = await CenterMachines.create('sync');
  await Promise.all(CENTERS.map((name) => centers.up(name)));
}, 300_000);

afterAll(async () => {
  await centers?.[Symbol.asyncDispose]();
}, 180_000);

describe('three centres', () => {
  it('run the shop at the primary alone, and standbys say where it is', async () => {
    await backupsFollow('north');
    await placeSome('north', 5);
    const refused = await centers.heptad('south', ['ps']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`use the primary's API: ${centers.machines.north.place.server}`);
    expect((await fetch(`${centers.machines.south.place.server}/readyz`)).status).toBe(503);
    expect((await centers.heptad('south', ['dr', 'explain'])).stdout).toContain('north is primary');
  });

  it('fail over by themselves when the primary is cut off, and lose no acknowledged order', async () => {
    centers.cut('north');
    const successor = await Promise.any(
      (['south', 'west'] as const).map((name) => becomesPrimary(name).then(() => name)),
    );
    await placeSome(successor, 5);
    await allOrdersAt(successor);
    // What is cut off serves nobody: its shop is gone, and it says why.
    const left = await eventually(
      () => centers.heptad('north', ['dr', 'status']),
      ({ stdout }) => stdout.includes('there is no primary now'),
    );
    expect(left.code).toBe(0);
    expect(
      await eventually(
        async () => centers.containersOf('north'),
        (ids) => ids.length === 0,
        60_000,
      ),
    ).toEqual([]);
    centers.join('north');
    await backupsFollow(successor);
    expect(await roleAt('north')).toBe('backup');
  });

  it('fail back by command, from any centre, with everything', async () => {
    const { code, stdout, stderr } = await centers.heptad('west', ['dr', 'failback']);
    expect([code, stdout], stderr).toEqual([0, expect.stringContaining('north is primary')]);
    await placeSome('north', 5);
    await allOrdersAt('north');
    const replicas = await centers.heptadJson<ContainerResource[]>('north', ['ps']);
    expect(new Set(replicas.map(({ spec }) => spec.node))).toEqual(new Set(['north-1']));
  });

  it('fail over by command to a centre of choice', async () => {
    await backupsFollow('north');
    const moved = await centers.heptad('north', ['dr', 'failover', '--to', 'south']);
    expect(moved.code, moved.stderr).toBe(0);
    expect(await roleAt('south')).toBe('primary');
    await placeSome('south', 3);
    await allOrdersAt('south');
    const unknown = await centers.heptad('south', ['dr', 'failover', '--to', 'east']);
    expect(unknown.code).toBe(3);
    expect(unknown.stderr).toContain('north, south, west');
  });

  it('are drilled while they run: handed over and back under writes, losing none', async () => {
    await backupsFollow('south');
    const drill = await centers.heptadJson<{
      phase: string;
      reports: { rpoOps: number; rtoMs: number | null; writes: { acknowledged: number } }[];
    }>('south', ['dr', 'drill', '--live']);
    expect(drill.phase).toBe('completed');
    expect(drill.reports.map(({ rpoOps }) => rpoOps)).toEqual([0, 0]);
    for (const report of drill.reports) {
      expect(report.rtoMs).not.toBeNull();
      expect(report.writes.acknowledged).toBeGreaterThan(50);
    }
    await becomesPrimary('south');
    await allOrdersAt('south');
  });

  it('go on after kill -9 of the primary’s server, whoever serves then', async () => {
    await backupsFollow('south');
    await placeSome('south', 3);
    const pid = centers.pidOf('south', 'server');
    process.kill(pid, 'SIGKILL');
    await eventually(
      async () => centers.pidOf('south', 'server'),
      (now) => now !== pid,
    );
    const serving = await Promise.any(CENTERS.map((name) => becomesPrimary(name).then(() => name)));
    await placeSome(serving, 3);
    await allOrdersAt(serving);
    const roles = await Promise.all(CENTERS.map(roleAt));
    expect(roles.filter((role) => role === 'primary')).toHaveLength(1);
  });
});

describe('Ctrl-C at every centre', () => {
  it('leaves no process of theirs', async () => {
    await Promise.all(CENTERS.map((name) => centers.down(name)));
    for (const name of CENTERS) expect(processesOf(centers.machines[name].home)).toEqual([]);
  });
});
