// Keeps the Center resources as the primary sees the centres, for those who watch resources.

import type { Clock, Resources } from '@heptad/core';
import { type CenterView, viewCenters } from './center-view.ts';
import type { PlatformCenter } from './platform-center.ts';

const REPORT_INTERVAL_MS = 2_000;

/** Writes what changed, until the signal aborts. */
export async function reportCenters(
  center: PlatformCenter,
  resources: Resources<'Center'>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const told = new Map<string, string>();
  while (!signal.aborted) {
    for (const view of viewCenters(center.recovery.status(), center.settings)) {
      const steady = steadyPart(view);
      const text = JSON.stringify(steady);
      if (told.get(view.name) === text) continue;
      // What cannot be written now (a lease that runs out) is written in the next turn.
      const written = await write(resources, view.name, steady).then(
        () => true,
        () => false,
      );
      if (written) told.set(view.name, text);
    }
    await clock.sleep(REPORT_INTERVAL_MS, signal).catch(() => {});
  }
}

/** What does not change with every heartbeat: a resource written each second would be noise to all who watch. */
function steadyPart({ spec, status }: CenterView): Pick<CenterView, 'spec' | 'status'> {
  const { role, generation } = status;
  return {
    spec,
    status: { role, generation, message: role === 'primary' ? 'serves' : 'follows the primary' },
  };
}

async function write(
  resources: Resources<'Center'>,
  name: string,
  { spec, status }: Pick<CenterView, 'spec' | 'status'>,
): Promise<void> {
  await resources.apply({ name, spec, status });
  await resources.updateStatus(name, () => status);
}
