// The state of the whole cloud in one word and the sentences behind it. Pure.

import type { AlertResource, NodeResource, ServiceResource, StorageSummary } from '../api/types.ts';
import { plural } from './format.ts';

/** How bad it is. `unknown`: nothing was heard yet. */
export type Health = 'healthy' | 'degraded' | 'critical' | 'unknown';

/** A verdict with its reasons, worst first. */
export interface Verdict {
  readonly health: Health;
  readonly reasons: readonly string[];
}

/** What is known; undefined parts are left out of the verdict. */
export interface Known {
  readonly nodes?: readonly NodeResource[] | undefined;
  readonly services?: readonly ServiceResource[] | undefined;
  readonly alerts?: readonly AlertResource[] | undefined;
  readonly storage?: StorageSummary | undefined;
}

/** The state of one service. */
export function serviceHealth(service: ServiceResource): Health {
  const { ready, failed } = service.status.replicas;
  if (service.status.observedGeneration === 0) return 'unknown';
  if (isStarting(service)) return 'degraded';
  if (service.spec.replicas > 0 && ready === 0) return 'critical';
  return ready < service.spec.replicas || failed > 0 || rolloutFailed(service) ? 'degraded' : 'healthy';
}

/** Nothing serves yet, and nothing has failed either: it is on its way. */
export function isStarting(service: ServiceResource): boolean {
  const { ready, failed } = service.status.replicas;
  return (
    service.spec.replicas > 0 &&
    ready === 0 &&
    failed === 0 &&
    service.status.rollout?.state === 'progressing'
  );
}

function rolloutFailed(service: ServiceResource): boolean {
  const state = service.status.rollout?.state;
  return state === 'failed' || state === 'rolled-back';
}

/** The state of the whole. */
export function verdict(known: Known): Verdict {
  if (known.nodes === undefined && known.services === undefined) return { health: 'unknown', reasons: [] };
  const critical: string[] = [];
  const degraded: string[] = [];
  const lost = known.nodes?.filter((node) => node.status.status !== 'Ready') ?? [];
  if (known.nodes?.length === 0) degraded.push('no node has joined yet');
  if (lost.length > 0) {
    const names = lost.map((node) => node.name).join(', ');
    (lost.length === known.nodes?.length ? critical : degraded).push(
      `${plural(lost.length, 'node')} not ready: ${names}`,
    );
  }
  for (const service of known.services ?? []) {
    const health = serviceHealth(service);
    const { ready } = service.status.replicas;
    if (health === 'critical') critical.push(`${service.name} has no ready replica`);
    else if (health === 'degraded') {
      degraded.push(
        rolloutFailed(service)
          ? `${service.name}: the last change did not succeed`
          : `${service.name}${isStarting(service) ? ' is starting' : ''}: ${ready} of ${service.spec.replicas} replicas ready`,
      );
    }
  }
  for (const alert of known.alerts ?? []) {
    if (alert.status.state !== 'firing') continue;
    (alert.spec.severity === 'critical' ? critical : degraded).push(
      `alert ${alert.name}: ${alert.spec.summary}`,
    );
  }
  if (known.storage?.health === 'unavailable' && known.storage.nodes.length > 0)
    critical.push('storage: some data cannot be reached');
  else if (known.storage?.health === 'degraded') degraded.push('storage: fewer copies than wanted');
  const health = critical.length > 0 ? 'critical' : degraded.length > 0 ? 'degraded' : 'healthy';
  return { health, reasons: [...critical, ...degraded] };
}
