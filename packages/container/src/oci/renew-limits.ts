// Limits that were changed since a container was created, brought into its bundle for the next start.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerRecord } from '../lifecycle/record.ts';
import { writeFileAtomic } from '../system/files.ts';
import { DEFAULT_PIDS_LIMIT } from './generate-spec.ts';
import { limitResources, resolveThrottles } from './resources.ts';
import type { OciSpec } from './spec.ts';

/** Rewrites the limits in `config.json`; devices stay as they were. */
export async function renewLimits(
  record: ContainerRecord,
  bundle: string,
  cgroupVersion: 1 | 2,
): Promise<void> {
  const { limits, spec } = record;
  if (JSON.stringify(limits) === JSON.stringify(spec.limits ?? {})) return;
  const path = join(bundle, 'config.json');
  // We wrote this file ourselves.
  const config = JSON.parse(await readFile(path, 'utf8')) as OciSpec;
  // Without cgroups of our own there are no limits to renew.
  if (config.linux.resources === undefined) return;
  const throttles = await resolveThrottles(limits.ioThrottles ?? [], `start container "${record.name}"`);
  const resources = {
    ...(config.linux.resources.devices === undefined ? {} : { devices: config.linux.resources.devices }),
    ...limitResources({ pids: DEFAULT_PIDS_LIMIT, ...limits }, throttles, cgroupVersion),
  };
  const renewed: OciSpec = { ...config, linux: { ...config.linux, resources } };
  await writeFileAtomic(path, JSON.stringify(renewed), { durable: false });
}
