// A failover rehearsed by the CLI: real centre processes, a real kill, measured by a client.

import { describe, expect, it } from 'vitest';
import { testPlace } from './support/platform.ts';
import { heptadJson } from './support/run.ts';

describe('heptad dr drill', () => {
  it('fails over by itself and loses no acknowledged write with synchronous replication', async () => {
    await using place = await testPlace();
    const report = await heptadJson<{
      rtoMs: number | null;
      rpoOps: number;
      writes: { acknowledged: number };
    }>(place, ['dr', 'drill']);
    expect(report.rtoMs).not.toBeNull();
    expect(report.rpoOps).toBe(0);
    expect(report.writes.acknowledged).toBeGreaterThan(0);
  });
});
