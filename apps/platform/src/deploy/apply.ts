// Sends a manifest to the platform and waits until its services are ready.

import { HeptadError, type ServiceResource, systemClock } from '@heptad/core';
import type { ApiClient } from '../client/api-client.ts';
import type { ProjectManifest } from './project.ts';

/** One line of a plan. */
export interface PlannedChange {
  readonly object: string;
  readonly change: 'create' | 'update' | 'none';
  /** Why, or what differs. */
  readonly because: string;
}

/** What applying would change. */
export async function planManifest(client: ApiClient, manifest: ProjectManifest): Promise<PlannedChange[]> {
  return (await client.json<{ changes: PlannedChange[] }>('POST', '/api/v1/plan', manifest)).changes;
}

/** Makes the manifest the desired state. Policies first, so that no service is ever open that should not be. */
export async function applyManifest(client: ApiClient, manifest: ProjectManifest): Promise<void> {
  for (const { name, spec } of manifest.policies)
    await client.json('PUT', `/api/v1/mesh/policies/${name}`, { spec });
  for (const { name, spec } of manifest.routes)
    await client.json('PUT', `/api/v1/mesh/routes/${name}`, { spec });
  for (const { name, spec, labels } of manifest.services)
    await client.json('PUT', `/api/v1/services/${name}`, { spec, labels });
}

/** Whether a service is as its newest spec wants it. */
export function isReady(service: ServiceResource): boolean {
  const { spec, status, generation } = service;
  return (
    status.observedGeneration >= generation &&
    status.replicas.ready >= spec.replicas &&
    status.replicas.updated >= spec.replicas &&
    status.rollout?.state !== 'progressing'
  );
}

function describe(service: ServiceResource): string {
  const { replicas, rollout } = service.status;
  return `${service.name}: ${replicas.ready}/${service.spec.replicas} ready${rollout?.state === 'progressing' ? ` (${rollout.message})` : ''}`;
}

function requireNamed(items: readonly ServiceResource[], name: string): ServiceResource {
  const found = items.find((service) => service.name === name);
  if (found !== undefined) return found;
  throw new HeptadError('NOT_FOUND', `there is no service "${name}" to wait for`, {
    hint: 'heptad services',
  });
}

/** Whether the rollout of generation `asked` has failed, or was rolled back since. */
export function hasFailed(service: ServiceResource, asked: number): boolean {
  const { status, generation } = service;
  const state = status.observedGeneration >= generation ? status.rollout?.state : undefined;
  return state === 'failed' || (state === 'rolled-back' && generation > asked);
}

const POLL_MS = 250;

/**
 * Waits until all named services are ready.
 *
 * @throws HeptadError `TIMEOUT` naming those that are not; `ROLLOUT_FAILED` when one was rolled back.
 */
export async function waitReady(
  client: ApiClient,
  names: readonly string[],
  options: { timeoutMs: number; onProgress?: (message: string) => void; signal?: AbortSignal },
): Promise<void> {
  const deadline = systemClock.monotonicMs() + options.timeoutMs;
  let shown = '';
  // A rollback writes the earlier spec again: the generation rises after what was asked for.
  const asked = new Map<string, number>();
  for (;;) {
    // One request for all: a project of many services must not use up its own rate limit by waiting.
    const { items } = await client.json<{ items: ServiceResource[] }>('GET', '/api/v1/services?limit=1000');
    const services = names.map((name) => requireNamed(items, name));
    for (const { name, generation } of services) if (!asked.has(name)) asked.set(name, generation);
    const failed = services.find((service) => hasFailed(service, asked.get(service.name) ?? 0));
    if (failed !== undefined) {
      throw new HeptadError(
        'ROLLOUT_FAILED',
        `service "${failed.name}" could not be rolled out: ${failed.status.rollout?.message}`,
        { hint: `heptad logs ${failed.name}` },
      );
    }
    const waiting = services.filter((service) => !isReady(service));
    if (waiting.length === 0) return;
    const text = waiting.map(describe).join(', ');
    if (text !== shown) options.onProgress?.(text);
    shown = text;
    if (systemClock.monotonicMs() > deadline) {
      throw new HeptadError('TIMEOUT', `not ready after ${options.timeoutMs / 1000} s: ${text}`, {
        hint: `heptad ps and heptad logs ${waiting[0]?.name} say why`,
      });
    }
    await systemClock.sleep(POLL_MS, options.signal);
  }
}
