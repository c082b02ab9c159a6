// The holder's side of a lease: measured from the send, never revived, never asked twice at once.

import { describe, expect, it } from 'vitest';
import { HeptadError } from '../errors.ts';
import { VirtualClock } from '../sim/virtual-clock.ts';
import { KeptLease } from './kept-lease.ts';

function keep(keepAlive: (clock: VirtualClock) => Promise<void>) {
  const clock = new VirtualClock();
  const lease = new KeptLease({
    id: 'x',
    ttlMs: 900,
    clock,
    grantedAtMs: 0,
    keepAlive: () => keepAlive(clock),
    revoke: async () => {},
  });
  return { clock, lease };
}

describe('KeptLease', () => {
  it('lives while keep-alives succeed', async () => {
    const { clock, lease } = keep(async () => {});
    await clock.advance(100_000);
    expect(lease.lost.aborted).toBe(false);
  });

  it('is lost one life after the last success was sent, not received', async () => {
    let answers = 0;
    const { clock, lease } = keep(async (time) => {
      // The first is answered after 250 ms, later ones never.
      answers += 1;
      if (answers > 1) await new Promise(() => {});
      await time.sleep(250);
    });
    await clock.advance(300 + 900 - 1);
    expect(lease.lost.aborted).toBe(false);
    await clock.advance(1);
    expect(lease.lost.aborted).toBe(true);
    expect(lease.lost.reason).toMatchObject({ code: 'LEASE_LOST' });
  });

  it('survives failures shorter than its life', async () => {
    let failing = true;
    const { clock, lease } = keep(async () => {
      if (failing) throw new HeptadError('UNAVAILABLE', 'away');
    });
    await clock.advance(800);
    failing = false;
    await clock.advance(100_000);
    expect(lease.lost.aborted).toBe(false);
  });

  it('is lost at once when the store says so, and asks no more', async () => {
    let asked = 0;
    const { clock, lease } = keep(async () => {
      asked += 1;
      throw new HeptadError('LEASE_NOT_FOUND', 'gone');
    });
    await clock.advance(300);
    expect(lease.lost.aborted).toBe(true);
    await clock.advance(10_000);
    expect(asked).toBe(1);
  });

  it('an answer after its end does not revive it', async () => {
    const { clock, lease } = keep((time) => time.sleep(5_000));
    await clock.advance(1_000);
    expect(lease.lost.aborted).toBe(true);
    await clock.advance(10_000);
    expect(lease.lost.aborted).toBe(true);
  });
});
