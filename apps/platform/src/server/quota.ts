// Adaptive resources: a strategy turns signals into replicas and CPU limits of running services.

import { HeptadError, type ServiceResource } from '@heptad/core';
import { ResourceOptimizer } from '@heptad/orchestrator';
import type { ServerParts } from './parts.ts';

/** What changed, or would. */
export interface Adjustment {
  readonly service: string;
  readonly before: { readonly cpuMillis: number; readonly replicas: number };
  readonly after: { readonly cpuMillis: number; readonly replicas: number };
  readonly because: string;
}

/** CPU of a service that names neither limit nor request. */
const DEFAULT_BASE_CPU_MILLIS = 250;
const SYSTEM_LABEL = 'heptad.io/system';

function cpuOf(service: ServiceResource): number {
  const { limits, requests } = service.spec.resources;
  return limits.cpuMillis ?? (requests.cpuMillis > 0 ? requests.cpuMillis : DEFAULT_BASE_CPU_MILLIS);
}

/** The figures that strategies multiply: what the service had before the first adjustment. */
async function baseOf(
  parts: ServerParts,
  service: ServiceResource,
): Promise<{ cpuMillis: number; workers: number }> {
  const quota = await parts.resources.Quota.find(quotaName(service.name));
  const adaptive = quota?.spec.adaptive;
  return adaptive === undefined
    ? { cpuMillis: cpuOf(service), workers: Math.max(1, service.spec.replicas) }
    : { cpuMillis: adaptive.baseCpuMillis, workers: adaptive.baseWorkers };
}

function quotaName(service: string): string {
  return `adaptive-${service}`;
}

/**
 * Adjusts one service or all (never the platform's own).
 *
 * @throws HeptadError `INVALID_ARGUMENT` for an unknown strategy (the message lists the known); `NOT_FOUND`.
 */
export async function adjustQuota(
  parts: ServerParts,
  request: { strategy: string; service?: string; dryRun?: boolean },
): Promise<Adjustment[]> {
  const optimizer = new ResourceOptimizer({ signals: parts.signals });
  const services =
    request.service === undefined
      ? (await parts.resources.Service.list()).items.filter((one) => one.labels[SYSTEM_LABEL] === undefined)
      : [await parts.resources.Service.get(request.service)];
  const adjustments: Adjustment[] = [];
  for (const service of services) {
    if (service.labels[SYSTEM_LABEL] !== undefined) {
      throw new HeptadError(
        'FORBIDDEN',
        `service "${service.name}" belongs to the platform and is not adjusted`,
      );
    }
    const base = await baseOf(parts, service);
    const decision = await optimizer.decide({
      strategy: request.strategy,
      service: service.name,
      baseCpuMillis: base.cpuMillis,
      baseWorkers: base.workers,
    });
    const before = { cpuMillis: cpuOf(service), replicas: service.spec.replicas };
    const after = { cpuMillis: decision.cpuMillis, replicas: decision.workers };
    adjustments.push({ service: service.name, before, after, because: decision.because });
    if (request.dryRun) continue;
    await parts.resources.Quota.apply({
      name: quotaName(service.name),
      spec: {
        adaptive: {
          service: service.name,
          strategy: request.strategy,
          baseCpuMillis: base.cpuMillis,
          baseWorkers: base.workers,
        },
      },
    });
    const { resources } = service.spec;
    await parts.orchestrator.deploy(service.name, {
      ...service.spec,
      replicas: after.replicas,
      resources: { ...resources, limits: { ...resources.limits, cpuMillis: after.cpuMillis } },
    });
    await parts.resources.Quota.updateStatus(quotaName(service.name), (quota) => ({
      ...quota.status,
      message: decision.because,
    }));
  }
  return adjustments;
}
