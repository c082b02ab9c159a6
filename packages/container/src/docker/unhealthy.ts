// Acts on containers that became unhealthy, which a Docker Engine only tells of.

import type { ContainerId } from '@heptad/core';
import { stateOf } from './container-info.ts';
import type { DockerContext } from './context.ts';
import { unhealthyAction } from './labels.ts';
import { post, stopContainer } from './lifecycle.ts';
import { instantOf } from './times.ts';

const GRACE_MS = 10_000;
// The back-off of restart policies: it doubles up to a minute, and begins anew after ten seconds of running.
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 60_000;
const RAN_WELL_MS = 10_000;

/** Restarts or stops unhealthy containers, as their labels say. */
export class UnhealthyActions {
  private readonly streaks = new Map<ContainerId, number>();
  private readonly closing: AbortSignal;

  constructor(closing: AbortSignal) {
    this.closing = closing;
  }

  /** Acts on one; whatever fails is left to the next health check. */
  async act(
    context: DockerContext,
    id: ContainerId,
    labels: Readonly<Record<string, string>>,
  ): Promise<void> {
    const action = unhealthyAction(labels);
    if (action === 'none') return;
    const container = await context.containers.find(id);
    if (stateOf(container) !== 'running') return;
    const startedAt = instantOf(container.State.StartedAt) ?? 0;
    await stopContainer(context, container, { graceMs: GRACE_MS, signal: this.closing }, 'unhealthy');
    if (action === 'stop') {
      this.streaks.delete(id);
      return;
    }
    const streak = context.clock.now() - startedAt >= RAN_WELL_MS ? 0 : (this.streaks.get(id) ?? 0);
    this.streaks.set(id, streak + 1);
    await context.clock.sleep(Math.min(BACKOFF_MIN_MS * 2 ** streak, BACKOFF_MAX_MS), this.closing);
    // Somebody may have started it, removed it, or stopped it by hand meanwhile.
    const { endedBy, restarts = 0 } = await context.notes.read(id);
    if (endedBy !== 'unhealthy') return;
    await context.notes.revive(id, restarts + 1);
    await post(context, container, 'start', 'start an unhealthy container again');
  }
}
