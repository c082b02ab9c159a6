// When time alone will change the plan: so that the control loop sleeps exactly that long.

import type { Instant } from '@heptad/core';
import type { HeartbeatLimits } from './nodes.ts';
import type { ClusterState } from './state.ts';

/** The next moment at which a plan of this state can differ from one made now; undefined when none is in sight. */
export function nextWake(state: ClusterState, now: Instant, limits: HeartbeatLimits): Instant | undefined {
  let next: Instant | undefined;
  const consider = (at: Instant): void => {
    if (at > now && (next === undefined || at < next)) next = at;
  };
  for (const seenAt of state.heartbeats.values()) {
    consider(seenAt + limits.suspectMs);
    consider(seenAt + limits.downMs);
  }
  for (const { spec, status } of state.services.values()) {
    if (status.rollout?.state !== 'progressing') continue;
    // One more, because the deadline has passed only after it.
    consider(status.rollout.progressedAt + spec.update.progressDeadlineMs + spec.update.minReadyMs + 1);
  }
  for (const { spec, status } of state.containers.values()) {
    if (spec.drainUntil !== undefined) consider(spec.drainUntil);
    if (status.readySince !== undefined) consider(status.readySince + spec.template.update.minReadyMs);
  }
  return next;
}
