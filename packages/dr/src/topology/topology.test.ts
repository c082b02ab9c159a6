import { describe, expect, it } from 'vitest';
import { Topology } from './topology.ts';

const centers = ['a', 'b', 'c'].map((name, i) => ({ name, address: `h:${i + 1}` }));

describe('Topology', () => {
  it('takes a primary and two backups', () => {
    const topology = new Topology({ primary: 'a', centers });
    expect(topology).toMatchObject({
      majority: 2,
      electionData: 2,
      settings: { syncBackups: 1, replication: 'sync' },
    });
    expect(topology.automaticFailover.possible).toBe(true);
  });

  it('elects with a witness when every copy has every write', () => {
    const witnessed = new Topology({
      primary: 'a',
      centers: [...centers.slice(0, 2), { name: 'w', address: 'h:9', witness: true }],
    });
    expect(witnessed).toMatchObject({ majority: 2, electionData: 1 });
  });

  it('tells all problems at once, with the settings concerned', () => {
    const broken = () =>
      new Topology({
        primary: 'z',
        centers: [...centers, { name: 'a', address: 'h:1' }],
        syncBackups: 9,
        timings: { acceptablePauseMs: 100, leaseMarginMs: 100, requestTimeoutMs: 5000 },
      });
    for (const part of [
      'two centres have the name a',
      'address h:1',
      'primary "z"',
      'syncBackups is 9',
      'acceptablePauseMs (100)',
      'leaseMarginMs (100)',
      'heartbeatMs + 2 × requestTimeoutMs (10250)',
    ]) {
      expect(broken).toThrow(part);
    }
  });

  it('refuses a topology without a backup', () => {
    expect(() => new Topology({ primary: 'a', centers: centers.slice(0, 1) })).toThrow('at least one backup');
  });
});
