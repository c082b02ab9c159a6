// What binds a centre: a later generation for ever, a promise for a lease's time. Each alone keeps two primaries apart.

import { MemoryStateStore } from '@heptad/core';
import { Simulation } from '@heptad/core/sim';
import { describe, expect, it } from 'vitest';
import { Topology } from '../topology/topology.ts';
import { LocalState } from './local-state.ts';
import { Tenure } from './tenure.ts';

const topology = new Topology({
  primary: 'north',
  centers: ['north', 'south', 'west'].map((name) => ({ name, address: `${name}:7400` })),
});
const { leaseTtlMs } = topology.timings;
const vote = (candidate: string, generation: number) => ({
  candidate,
  generation,
  position: { generation: 0, revision: 0 },
  trial: false,
});

async function inSimulation(
  test: (tenure: Tenure, simulation: Simulation, restart: () => Promise<Tenure>) => Promise<void>,
): Promise<void> {
  const simulation = new Simulation({ seed: 1 });
  await simulation.run(async () => {
    const { clock } = simulation;
    const store = new MemoryStateStore({ clock, random: simulation.random.fork('store') });
    const open = async (): Promise<Tenure> =>
      new Tenure({
        self: 'west',
        topology,
        store,
        local: await LocalState.load(store),
        clock,
        promotions: [],
        orphanGraceMs: 30_000,
        call: () => Promise.reject(new Error('nobody answers')),
        onEvent: () => {},
        onReign: () => {},
      });
    await test(await open(), simulation, open);
  });
}

describe('a tenure', () => {
  it('neither follows nor acknowledges an earlier generation again', () =>
    inSimulation(async (tenure) => {
      expect(await tenure.follow('north', 1)).toBe(true);
      expect(await tenure.follow('south', 2)).toBe(true);
      expect(await tenure.follow('north', 1)).toBe(false);
      expect(tenure.primary).toBe('south');
      let acknowledged = false;
      const late = tenure.exclusive(1, async () => {
        acknowledged = true;
      });
      await expect(late).rejects.toMatchObject({ code: 'FENCED' });
      expect(acknowledged).toBe(false);
    }));

  it('votes for nobody else until its promise to the primary has ended', () =>
    inSimulation(async (tenure, { clock }) => {
      await tenure.follow('north', 1);
      await clock.sleep(leaseTtlMs - 1);
      expect(await tenure.vote(vote('south', 2))).toMatchObject({ granted: false, generation: 1 });
      await clock.sleep(2);
      expect(await tenure.vote(vote('south', 2))).toMatchObject({ granted: true, generation: 2 });
      expect(await tenure.follow('north', 1)).toBe(false);
    }));

  it('votes at once when the primary released it by plan', () =>
    inSimulation(async (tenure) => {
      await tenure.follow('north', 1);
      await tenure.release('north', 1);
      expect(await tenure.vote(vote('south', 2))).toMatchObject({ granted: true });
    }));

  it('votes once in a generation, restarted or not, and waits out what it may have promised before', () =>
    inSimulation(async (tenure, { clock }, restart) => {
      expect(await tenure.vote(vote('south', 1))).toMatchObject({ granted: true });
      const restarted = await restart();
      await clock.sleep(leaseTtlMs - 1);
      expect(await restarted.vote(vote('north', 2))).toMatchObject({ granted: false });
      await clock.sleep(2);
      expect(await restarted.vote(vote('north', 1))).toMatchObject({ granted: false });
      expect(await restarted.vote(vote('north', 2))).toMatchObject({ granted: true });
    }));
});
