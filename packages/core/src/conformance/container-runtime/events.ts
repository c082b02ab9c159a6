// Events: ordered, numbered without gaps, one a transition.

import assert from 'node:assert/strict';
import type { ContainerEvent } from '../../contracts/container-runtime.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import type { ConformanceCase } from '../suite.ts';
import { POLITE, patience, run, runToEnd, runtimeCase } from './tools.ts';

/** Events after `since` until one satisfies `last`. */
async function eventsUntil(
  harness: ContainerRuntimeHarness,
  since: number,
  last: (event: ContainerEvent) => boolean,
): Promise<ContainerEvent[]> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, patience()]);
  const events: ContainerEvent[] = [];
  for await (const event of harness.runtime.events({ since, signal })) {
    events.push(event);
    if (last(event)) stop.abort();
  }
  assert.ok(stop.signal.aborted, `the event never came; there were ${events.map((e) => e.type).join(', ')}`);
  return events;
}

/** Cases of events. */
export const eventCases: readonly ConformanceCase<ContainerRuntimeHarness>[] = [
  runtimeCase(
    'events: a life is create, start, die, remove, in this order, with the exit code',
    async (harness) => {
      const { id } = await runToEnd(harness, 'process.exit(7)', { labels: { app: 'x' } });
      await harness.runtime.remove(id);
      const events = await eventsUntil(harness, 0, (event) => event.type === 'remove');
      const mine = events.filter((event) => event.id === id);
      assert.deepEqual(
        mine.map((event) => event.type),
        ['create', 'start', 'die', 'remove'],
      );
      assert.equal(mine[2]?.exit?.exitCode, 7);
      for (const event of mine) assert.deepEqual(event.labels, { app: 'x' });
    },
  ),

  runtimeCase('events: sequences rise by one, and reading can resume after any of them', async (harness) => {
    for (let round = 0; round < 2; round += 1) {
      const { id } = await runToEnd(harness, '');
      await harness.runtime.remove(id);
    }
    let removed = 0;
    const all = await eventsUntil(harness, 0, (event) => event.type === 'remove' && ++removed === 2);
    for (const [index, event] of all.entries()) {
      assert.equal(event.sequence, (all[0]?.sequence ?? 0) + index);
    }
    const middle = all[3];
    assert.ok(middle !== undefined);
    const rest = await eventsUntil(harness, middle.sequence, (event) => event.type === 'remove');
    assert.deepEqual(rest[0], all[4]);
  }),

  runtimeCase('events: a watcher that is there hears them as they happen', async (harness) => {
    const heard = eventsUntil(harness, 0, (event) => event.type === 'die');
    const id = await run(harness, POLITE);
    await harness.runtime.stop(id, { graceMs: 0 });
    const types = (await heard).filter((event) => event.id === id).map((event) => event.type);
    assert.deepEqual(types.slice(0, 2), ['create', 'start']);
    assert.ok(types.includes('die'));
  }),
];
