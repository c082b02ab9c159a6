// One layout per version is chosen, whoever proposes when and whatever is repeated after a restart.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeDisk, systemRandom } from '@heptad/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { firstLayout, type Layout } from '../placement/layout.ts';
import { LayoutKeeper } from './layout-keeper.ts';

const layoutOf = (who: number): Layout =>
  firstLayout([{ id: `node-of-${who}`, address: '127.0.0.1:1', capacityBytes: 1 }], 1);

describe('LayoutKeeper', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'heptad-layout-'));
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });
  const open = async (name: string): Promise<LayoutKeeper> => {
    await mkdir(join(root, name, 'tmp'), { recursive: true });
    return await LayoutKeeper.open(nodeDisk, join(root, name), systemRandom);
  };

  it('lets at most one layout be accepted by a majority, in any interleaving with restarts', async () => {
    // A step: a proposer talks to one node, or a node restarts.
    const step = fc.oneof(
      fc.record({ proposer: fc.integer({ min: 0, max: 2 }), node: fc.integer({ min: 0, max: 2 }) }),
      fc.record({ restart: fc.integer({ min: 0, max: 2 }) }),
      fc.record({ again: fc.integer({ min: 0, max: 2 }) }),
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        run += 1;
        const nodes = await Promise.all([0, 1, 2].map((n) => open(`${run}-${n}`)));
        let ballots = 0;
        const begin = (who: number) => ({
          ballot: `${String(ballots++).padStart(5, '0')}.${who}`,
          promised: new Map<number, { ballot: string; layout: Layout } | undefined>(),
          accepted: new Set<number>(),
          value: undefined as Layout | undefined,
        });
        const proposers = [0, 1, 2].map(begin);
        const chosen = new Set<string>();
        for (const move of steps) {
          if ('restart' in move) nodes[move.restart] = await open(`${run}-${move.restart}`);
          else if ('again' in move) proposers[move.again] = begin(move.again);
          else await talk(proposers[move.proposer], move.proposer, nodes[move.node], move.node, chosen);
        }
        expect(chosen.size).toBeLessThanOrEqual(1);
      }),
      { numRuns: 60 },
    );
  });

  it('takes over chosen layouts in order, and remembers them', async () => {
    const keeper = await open('a');
    await keeper.learn({ ...layoutOf(1), version: 4 });
    await keeper.learn({ ...layoutOf(1), version: 4 });
    await expect(keeper.learn({ ...layoutOf(2), version: 4 })).rejects.toMatchObject({
      code: 'LAYOUT_CONFLICT',
    });
    await expect(keeper.learn({ ...layoutOf(1), version: 3 })).rejects.toMatchObject({
      code: 'STALE_LAYOUT',
    });
    await expect(keeper.prepare(4, '1')).rejects.toMatchObject({ code: 'STALE_LAYOUT' });
    await expect(keeper.prepare(6, '1')).rejects.toMatchObject({ code: 'NODE_BEHIND' });
    expect((await open('a')).chosen).toEqual({ ...layoutOf(1), version: 4 });
  });

  it('refuses a file it cannot understand, naming it', async () => {
    await mkdir(join(root, 'bad'));
    await writeFile(join(root, 'bad', 'layout.json'), '{}');
    await expect(open('bad')).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      details: { path: join(root, 'bad', 'layout.json') },
    });
  });
});

interface Proposer {
  readonly ballot: string;
  readonly promised: Map<number, { ballot: string; layout: Layout } | undefined>;
  readonly accepted: Set<number>;
  value: Layout | undefined;
}

// One message of a proposer: a prepare until a majority has promised, then an accept.
async function talk(
  proposer: Proposer | undefined,
  who: number,
  node: LayoutKeeper | undefined,
  at: number,
  chosen: Set<string>,
): Promise<void> {
  if (proposer === undefined || node === undefined) return;
  try {
    if (proposer.promised.size < 2) {
      proposer.promised.set(at, await node.prepare(1, proposer.ballot));
      return;
    }
    const earlier = [...proposer.promised.values()].flatMap((accepted) => accepted ?? []);
    earlier.sort((a, b) => (a.ballot < b.ballot ? 1 : -1));
    proposer.value ??= earlier[0]?.layout ?? layoutOf(who);
    await node.accept(proposer.ballot, proposer.value);
    proposer.accepted.add(at);
    if (proposer.accepted.size >= 2) chosen.add(JSON.stringify(proposer.value));
  } catch (error) {
    expect(error).toMatchObject({ code: 'LAYOUT_CONFLICT' });
  }
}
