// The whole protocol under simulated faults: crashes, pauses, partitions. Goal: never two primaries in one generation, never
// two serving at once, never an acknowledged synchronous write lost. Method: seeds; a failing one is in the error's message.
// By default a few short runs, for every build; HEPTAD_SEEDS=1000 runs so many long ones, HEPTAD_SEED=7 begins with that one.

import { MemoryStateStore } from '@heptad/core';
import { type SimProcess, Simulation } from '@heptad/core/sim';
import { describe, expect, it } from 'vitest';
import { CenterClient } from '../client/center-client.ts';
import { Topology } from '../topology/topology.ts';
import { DisasterRecovery } from './disaster-recovery.ts';
import { NetworkTransport } from './network-transport.ts';

const LONG = process.env.HEPTAD_SEEDS !== undefined;
const SEEDS = Number(process.env.HEPTAD_SEEDS ?? 3);
const FIRST_SEED = Number(process.env.HEPTAD_SEED ?? 1);
/** Faults of one run, one after the other: two make a failover and a fault right after it; six wear the history. */
const ROUNDS = LONG ? 6 : 2;
const NAMES = ['north', 'south', 'west'];
const topology = new Topology({
  primary: 'north',
  centers: NAMES.map((name) => ({ name, address: `${name}:7400` })),
  timings: { cooldownMs: 0 },
  maxFailoversPerHour: 1000,
});

interface World {
  readonly simulation: Simulation;
  readonly stores: Map<string, MemoryStateStore>;
  readonly running: Map<string, { process: SimProcess; center: DisasterRecovery; paused: boolean }>;
  /** Generation -> who said it was primary of it. */
  readonly primaries: Map<number, Set<string>>;
}

async function start(world: World, name: string): Promise<void> {
  const process = world.simulation.process(name);
  const { clock, network, random } = process;
  const center = await DisasterRecovery.start({
    topology,
    self: name,
    store: world.stores.get(name) ?? new MemoryStateStore(),
    transport: new NetworkTransport({ network, clock }),
    clock,
    random,
  });
  center.onEvent(({ kind, message }) => {
    world.simulation.note(`${name} ${kind} ${message}`);
    const generation = /^PRIMARY of generation (\d+)/.exec(message)?.[1];
    if (generation === undefined) return;
    const who = world.primaries.get(Number(generation)) ?? new Set();
    world.primaries.set(Number(generation), who.add(name));
  });
  world.running.set(name, { process, center, paused: false });
}

// One fault after the other, each lasting a random time; everything is whole again at the end.
async function torment(world: World, rounds: number): Promise<void> {
  const { simulation, running } = world;
  const random = simulation.random.fork('nemesis');
  for (let round = 0; round < rounds; round += 1) {
    // Mostly the primary: faults of others rarely hurt.
    const serving = [...running.values()].find(({ center }) => center.status().serving)?.center.self;
    const victim = (random.next() < 0.75 ? serving : undefined) ?? NAMES[random.integer(3)] ?? 'north';
    const entry = running.get(victim);
    const kind = random.integer(4);
    simulation.note(`fault ${['kill', 'pause', 'isolate', 'one-way'][kind]} ${victim}`);
    // Half of the partitions leave the victim its clients: the ones in which a false primary does harm.
    const others = [...NAMES.filter((name) => name !== victim), 'client'];
    if (kind === 0) {
      entry?.process.kill();
      running.delete(victim);
    } else if (kind === 1 && entry !== undefined) {
      entry.paused = true;
      entry.process.pause();
    } else
      simulation.network.partition([victim], others.slice(0, 2 + random.integer(2)), { oneWay: kind === 3 });
    await simulation.clock.sleep(500 + random.integer(12_000));
    if (kind === 0) await start(world, victim);
    else if (kind === 1 && entry !== undefined) {
      entry.process.resume();
      entry.paused = false;
    } else simulation.network.heal();
    await simulation.clock.sleep(random.integer(9000));
  }
}

async function simulate(
  seed: number,
): Promise<{ acknowledged: number; generations: number; unknown: number }> {
  const simulation = new Simulation({ seed });
  return simulation.run(async () => {
    const stores = new Map(
      NAMES.map((name) => [
        name,
        new MemoryStateStore({ clock: simulation.clock, random: simulation.random.fork(name) }),
      ]),
    );
    const world: World = { simulation, stores, running: new Map(), primaries: new Map() };
    for (const name of NAMES) await start(world, name);
    const { clock, network } = simulation.process('client');
    const addresses = topology.centers.map(({ address }) => address);
    const client = new CenterClient({
      addresses,
      clock,
      transport: new NetworkTransport({ network, clock }),
      timeoutMs: 60_000,
    });
    const acknowledged = new Set<string>();
    let unknown = 0;
    let sequence = 0;
    const writing = clock.interval(50, () => {
      sequence += 1;
      const key = `/w/${String(sequence).padStart(6, '0')}`;
      client.put(key, 'x').then(
        () => acknowledged.add(key),
        () => {
          unknown += 1;
        },
      );
    });
    const watching = simulation.clock.interval(10, () => {
      const serving = [...world.running.values()].filter(
        ({ center, paused }) => !paused && center.status().serving,
      );
      if (serving.length > 1)
        throw new Error(`two serve at once: ${serving.map(({ center }) => center.self).join(', ')}`);
    });
    await torment(world, ROUNDS);
    writing.cancel();
    watching.cancel();
    // Liveness: once all is whole, a primary is found and every acknowledged write with it.
    const { kvs } = await client.range({ key: '/w/', prefix: true });
    const present = new Set(kvs.map(({ key }) => key));
    const lost = [...acknowledged].filter((key) => !present.has(key));
    if (lost.length > 0)
      throw new Error(`${lost.length} acknowledged writes lost: ${lost.slice(0, 5).join(', ')}`);
    for (const [generation, who] of world.primaries) {
      if (who.size > 1) throw new Error(`generation ${generation} had primaries ${[...who].join(' and ')}`);
    }
    for (const { process } of world.running.values()) process.kill();
    return { acknowledged: acknowledged.size, generations: Math.max(...world.primaries.keys()), unknown };
  });
}

describe('centres under simulated faults', () => {
  it.each(Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i))(
    'seed %i: one primary a generation, one serving, nothing acknowledged lost',
    async (seed) => {
      const result = await simulate(seed);
      expect(result.acknowledged).toBeGreaterThan(50);
      expect(result.generations).toBeGreaterThanOrEqual(1);
    },
    180_000,
  );
});
