import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { choosePool, IDS_PER_CONTAINER, IdRanges, subordinateRanges } from './id-ranges.ts';
import { hostId } from './mapped-root.ts';

describe('choosePool', () => {
  const line = (owner: string, first: number, count: number): string => `${owner}:${first}:${count}\n`;

  it('takes the largest range that both files give us', () => {
    const text =
      line('alice', 100_000, 65_536) + line('heptad', 200_000, 65_536) + line('containers', 400_000, 200_000);
    expect(choosePool(text, text)).toEqual({ firstId: 400_000, count: 200_000 });
    expect(choosePool(text, line('heptad', 200_000, 65_536))).toEqual({ firstId: 200_000, count: 65_536 });
  });

  it('falls back to ids that no distribution gives out, also for a range that is too small', () => {
    for (const text of ['', line('heptad', 200_000, 1_000), line('alice', 1, 1_000_000)]) {
      expect(choosePool(text, text).firstId).toBe(0x5000_0000);
    }
  });

  it('passes over lines that are no ranges', () => {
    expect(subordinateRanges('heptad\nheptad:x:5\n# heptad:1:2\nheptad:1:2', ['heptad'])).toEqual([
      { firstId: 1, count: 2 },
    ]);
  });
});

describe('IdRanges', () => {
  it('gives each container a range of its own, the same one again, and frees what is gone', async () => {
    const home = await mkdtemp(join(tmpdir(), 'heptad-ids-'));
    const pool = { firstId: 1_000_000, count: 2 * IDS_PER_CONTAINER };
    const ranges = new IdRanges({ pool, directory: join(home, 'ids') });
    const first = async (owner: string): Promise<number | undefined> =>
      (await ranges.mappingsFor('auto', owner, owner))?.uids[0]?.hostId;
    // Owners are directories: these exist, that of a removed container does not.
    const [one, other] = [home, tmpdir()];
    const taken = await first(one);
    expect(await first(one)).toBe(taken);
    expect(await first(other)).not.toBe(taken);
    await expect(first('/')).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    await ranges.free(other);
    expect(await first('/no/such/container')).not.toBe(taken);
    expect(await first('/')).not.toBe(taken);
    expect(await ranges.mappingsFor('host', one, one)).toBeUndefined();
    await rm(home, { recursive: true });
  });
});

describe('hostId', () => {
  it('finds the id in any range, and says when there is none', () => {
    const ranges = [
      { containerId: 0, hostId: 1000, size: 1 },
      { containerId: 1, hostId: 100_000, size: 10 },
    ];
    expect([hostId(ranges, 0), hostId(ranges, 10)]).toEqual([1000, 100_009]);
    expect(() => hostId(ranges, 11)).toThrow(/no id 11/);
  });
});
