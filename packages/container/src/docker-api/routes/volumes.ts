// Volumes: listed, made, inspected, removed, pruned.

import { z } from 'zod';
import { ContainerError } from '../../errors.ts';
import type { ApiCall } from '../call.ts';
import type { ApiContext } from '../context.ts';
import { apiEvent } from '../events.ts';
import { Filters } from '../filters.ts';
import { timeText } from '../show-container.ts';
import type { Volume } from '../volumes.ts';

const createSchema = z.looseObject({
  Name: z.string().nullish(),
  Driver: z.string().nullish(),
  DriverOpts: z.record(z.string(), z.string()).nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
});

function shown(volume: Volume): Record<string, unknown> {
  return {
    CreatedAt: timeText(volume.createdAt),
    Driver: 'local',
    Labels: volume.labels,
    Mountpoint: volume.path,
    Name: volume.name,
    Options: volume.options,
    Scope: 'local',
  };
}

/** Names of volumes that containers have. */
export async function usedVolumes(context: ApiContext): Promise<Set<string>> {
  const infos = await context.runtime.list();
  return new Set(
    infos.flatMap(({ mounts }) => mounts.flatMap((mount) => (mount.type === 'volume' ? [mount.name] : []))),
  );
}

/** `GET /volumes` */
export async function listVolumes(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), ['dangling', 'driver', 'label', 'name']);
  const used = await usedVolumes(context);
  const chosen = (await context.volumes.list()).filter(
    (volume) =>
      filters.labels(volume.labels) &&
      filters.any('name', (name) => volume.name.includes(name)) &&
      filters.any('driver', (driver) => driver === 'local') &&
      (filters.get('dangling').length === 0 || filters.flag('dangling', false) === !used.has(volume.name)),
  );
  call.send(200, { Volumes: chosen.map(shown), Warnings: null });
}

/** `POST /volumes/create` */
export async function createVolume(context: ApiContext, call: ApiCall): Promise<void> {
  const request = await call.json(createSchema);
  const driver = request.Driver || 'local';
  const options = request.DriverOpts ?? {};
  if (driver !== 'local' || Object.keys(options).length > 0) {
    throw new ContainerError(
      'NOT_SUPPORTED',
      `cannot make the volume: driver "${driver}" with options is not supported`,
      {
        hint: 'volumes are directories of the engine (driver local, no options)',
      },
    );
  }
  const volume = await context.volumes.create({
    name: request.Name ?? undefined,
    labels: request.Labels ?? {},
  });
  context.events.emit(apiEvent('volume', 'create', volume.name, context.clock.now(), { driver: 'local' }));
  call.send(201, shown(volume));
}

/** `GET /volumes/{name}` */
export async function inspectVolume(context: ApiContext, call: ApiCall): Promise<void> {
  call.send(200, shown(await context.volumes.get(call.parameter('name'))));
}

/** `DELETE /volumes/{name}` */
export async function removeVolume(context: ApiContext, call: ApiCall): Promise<void> {
  const name = call.parameter('name');
  await context.volumes.get(name);
  if ((await usedVolumes(context)).has(name)) {
    throw new ContainerError('VOLUME_IN_USE', `remove ${name}: volume is in use`);
  }
  await context.volumes.remove(name);
  context.events.emit(apiEvent('volume', 'destroy', name, context.clock.now(), { driver: 'local' }));
  call.send(204);
}

/** `POST /volumes/prune` */
export async function pruneVolumes(context: ApiContext, call: ApiCall): Promise<void> {
  const filters = Filters.parse(call.query.get('filters'), ['all', 'label', 'label!']);
  const used = await usedVolumes(context);
  const deleted: string[] = [];
  for (const volume of await context.volumes.list()) {
    if (used.has(volume.name) || !filters.labels(volume.labels)) continue;
    await context.volumes.remove(volume.name);
    deleted.push(volume.name);
  }
  call.send(200, { VolumesDeleted: deleted, SpaceReclaimed: 0 });
}
