import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignPartitions, PARTITION_COUNT, type PlacementNode, partitionOf } from './assign.ts';

const GIB = 1024 ** 3;
const plain = (count: number): PlacementNode[] =>
  Array.from({ length: count }, (_, n) => ({ id: `node-${n}`, capacityBytes: GIB }));
const clusters = fc
  .uniqueArray(
    fc.record({
      id: fc.stringMatching(/^[a-z0-9]{1,8}$/),
      capacityBytes: fc.integer({ min: 1, max: 8 }).map((gib) => gib * GIB),
      zone: fc.constantFrom('east', 'west', 'north', undefined),
    }),
    { selector: (node) => node.id, minLength: 3, maxLength: 9 },
  )
  .map((nodes): PlacementNode[] =>
    nodes.map(({ zone, ...node }) => ({ ...node, ...(zone === undefined ? {} : { zone }) })),
  );
const zonesOf = (nodes: readonly PlacementNode[]): Set<string> =>
  new Set(nodes.map((node) => node.zone ?? `own ${node.id}`));

describe('assignPartitions', () => {
  it('gives every partition distinct nodes in as many distinct zones as there are', () => {
    fc.assert(
      fc.property(clusters, fc.integer({ min: 1, max: 3 }), (nodes, copies) => {
        for (const members of assignPartitions(nodes, copies)) {
          const chosen = members.flatMap((id) => nodes.find((node) => node.id === id) ?? []);
          expect(new Set(members).size).toBe(copies);
          expect(zonesOf(chosen).size).toBe(Math.min(copies, zonesOf(nodes).size));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('does not depend on the order of the nodes', () => {
    fc.assert(
      fc.property(clusters, (nodes) => {
        expect(assignPartitions([...nodes].reverse(), 3)).toEqual(assignPartitions(nodes, 3));
      }),
      { numRuns: 40 },
    );
  });

  it('moves at most one copy of a partition when a node comes or goes, and only to the new one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 10 }), (count) => {
        const before = assignPartitions(plain(count), 3);
        const after = assignPartitions(plain(count + 1), 3);
        after.forEach((members, partition) => {
          const gained = members.filter((id) => before[partition]?.includes(id) !== true);
          expect(gained.length === 0 || gained.join() === `node-${count}`).toBe(true);
        });
      }),
    );
  });

  it('moves at most one copy of a partition with zones, too', () => {
    fc.assert(
      fc.property(clusters, (nodes) => {
        const before = assignPartitions(nodes, 3);
        const joined = { id: 'the-new-one', zone: 'west', capacityBytes: 4 * GIB };
        assignPartitions([...nodes, joined], 3).forEach((members, partition) => {
          expect(members.filter((id) => before[partition]?.includes(id) !== true).length).toBeLessThanOrEqual(
            1,
          );
        });
      }),
      { numRuns: 60 },
    );
  });

  it('spreads by capacity', () => {
    const nodes = plain(8).map((node, n) => ({ ...node, capacityBytes: n === 0 ? 3 * GIB : GIB }));
    const held = new Map<string, number>();
    for (const id of assignPartitions(nodes, 1).flat()) held.set(id, (held.get(id) ?? 0) + 1);
    // Of 10 GiB the first has 3, each other 1; 256 draws scatter around that by about 7 and 5.
    expect(held.get('node-0')).toBeGreaterThan(77 - 25);
    expect(held.get('node-0')).toBeLessThan(77 + 25);
    for (const { id } of nodes.slice(1)) expect(held.get(id) ?? 0).toBeGreaterThan(26 - 18);
  });

  it('refuses clusters that cannot hold the copies', () => {
    expect(() => assignPartitions(plain(2), 3)).toThrow(/2 storage nodes cannot hold 3 copies/);
    expect(() => assignPartitions([...plain(3), ...plain(1)], 3)).toThrow(/appears twice/);
    expect(() => assignPartitions(plain(3), 0)).toThrow(/replication factor/);
  });

  it('takes the partition from the first byte of an object id', () => {
    expect(partitionOf(`ff${'0'.repeat(62)}`)).toBe(PARTITION_COUNT - 1);
  });
});
