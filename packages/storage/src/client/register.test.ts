// Goal: reads and writes of an object are linearizable whatever the network does.
// Method: the production register over simulated replicas, several clients, virtual time, a seeded source of chance, and
// a search for an order that explains what the clients saw. A failing run names its seed: SEED=<n> runs it alone.
import { VirtualClock } from '@heptad/core/sim';
import { describe, expect, it } from 'vitest';
import { linearize, type Operation } from '../../test/support/linearizability.ts';
import { SimulatedReplicas, seededRandom } from '../../test/support/simulated-replicas.ts';
import { TagSource } from '../model/tag.ts';
import { objectId, sha256Hex } from '../model/version.ts';
import { BackgroundWork } from './gather.ts';
import { QuorumRegister } from './register.ts';
import type { Route } from './replica.ts';

const SEEDS = process.env.SEED === undefined ? 300 : 1;
const FIRST_SEED = Number(process.env.SEED ?? 1);
const CLIENTS = 4;
const OPERATIONS = 10;
/** Virtual time in which everything ends. */
const HORIZON_MS = 600_000;

const [bucket, key] = ['orders', '1'];
const old = { nodes: ['a', 'b', 'c'], quorum: 2 };
const next = { nodes: ['b', 'c', 'd'], quorum: 2 };

async function simulate(seed: number, sets: Route['sets']): Promise<Operation[]> {
  const clock = new VirtualClock();
  const random = seededRandom(seed);
  const weather = { maxDelayMs: 20, loss: random.next() * 0.2, timeoutMs: 100 };
  const replicas = new SimulatedReplicas(clock, random, weather);
  const route: Route = { id: objectId(bucket, key), layoutVersion: 1, sets };
  const history: Operation[] = [];
  let instant = 0;
  const client = async (who: number): Promise<void> => {
    const background = new BackgroundWork();
    // Clocks of different machines differ; tags must be right all the same.
    const offset = random.integer(10_000) - 5_000;
    const skewed = Object.assign(Object.create(clock), { now: () => clock.now() + offset });
    const tags = new TagSource(skewed, random);
    const register = new QuorumRegister({ replicas, tags, background, clock, prefer: (nodes) => nodes });
    for (let n = 0; n < OPERATIONS; n += 1) {
      await clock.sleep(random.next() * 60);
      const invokedAt = instant++;
      if (random.next() < 0.5) {
        const body = Buffer.from(`client ${who} write ${n}`);
        const header = {
          bucket,
          key,
          sha256: sha256Hex(body),
          sizeBytes: body.length,
          lastModified: 0,
          metadata: {},
        };
        const value = body.toString();
        try {
          const version = await register.draw(route, { header: { ...header, deleted: false }, body });
          await register.store(route, version);
          history.push({ kind: 'write', value, invokedAt, returnedAt: instant++ });
        } catch {
          history.push({ kind: 'write', value, invokedAt, returnedAt: Number.POSITIVE_INFINITY });
        }
      } else {
        const version = await register.read(route).catch(() => 'failed' as const);
        if (version === 'failed') continue;
        const value = version === undefined ? '' : Buffer.from(version.body).toString();
        history.push({ kind: 'read', value, invokedAt, returnedAt: instant++ });
      }
    }
  };
  const nemesis = async (): Promise<void> => {
    for (let n = 0; n < 12; n += 1) {
      await clock.sleep(random.next() * 100);
      const node = ['a', 'b', 'c', 'd'][random.integer(4)] ?? 'a';
      replicas.leave(node);
      await clock.sleep(random.next() * 150);
      replicas.return(node);
    }
  };
  const all = Promise.all([nemesis(), ...Array.from({ length: CLIENTS }, (_, who) => client(who))]);
  await clock.advance(HORIZON_MS);
  await all;
  return history;
}

describe('the quorum register', () => {
  for (const [name, sets] of [
    ['with one set of replicas', [old]],
    ['while data moves to other replicas', [old, next]],
  ] as const) {
    it(`is linearizable ${name}, with loss, delay, reordering and absent nodes`, async () => {
      let reads = 0;
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
        const history = await simulate(seed, sets);
        reads += history.filter((operation) => operation.kind === 'read').length;
        const order = linearize(history);
        expect(order, `not linearizable, SEED=${seed}: ${JSON.stringify(history)}`).toBeDefined();
      }
      // A simulation in which nothing succeeds proves nothing.
      expect(reads).toBeGreaterThan(SEEDS * 5);
    });
  }

  it('runs the same for the same seed', async () => {
    expect(await simulate(7, [old])).toEqual(await simulate(7, [old]));
  });
});
