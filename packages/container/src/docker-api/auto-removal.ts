// Removes containers made with `--rm` once they have ended, and forgets the settings of those removed by others.

import type { ContainerEvent, ContainerId } from '@heptad/core';
import type { ApiContext } from './context.ts';
import { apiEvent } from './events.ts';

/** Cleans up after containers. */
export class AutoRemoval {
  private readonly context: ApiContext;

  constructor(context: ApiContext) {
    this.context = context;
  }

  /** Takes notice of an event. */
  async hear(event: ContainerEvent): Promise<void> {
    if (event.type === 'remove') await this.forget(event.id);
    if (event.type === 'die') await this.removeIfWished(event.id).catch(() => undefined);
  }

  /** What ended or was removed while nobody listened. */
  async sweep(): Promise<void> {
    const { runtime, settings } = this.context;
    const known = new Map((await runtime.list()).map((info) => [info.id, info]));
    for (const id of settings.ids()) {
      const info = known.get(id);
      if (info === undefined) await this.forget(id);
      else if (info.state === 'stopped') await this.removeIfWished(id).catch(() => undefined);
    }
  }

  private async removeIfWished(id: ContainerId): Promise<void> {
    const { runtime, settings } = this.context;
    if (settings.get(id)?.autoRemove !== true) return;
    const info = await runtime.inspect(id);
    // Between two runs of a restart policy it has not ended for good.
    if (info.state !== 'stopped' || info.restartAt !== undefined) return;
    await removeWithVolumes(this.context, id, { force: false, volumes: true });
  }

  private async forget(id: ContainerId): Promise<void> {
    await this.context.settings.delete(id);
  }
}

/** Removes a container, and with `volumes` those volumes that were made for it alone. */
export async function removeWithVolumes(
  context: ApiContext,
  id: ContainerId,
  options: { readonly force: boolean; readonly volumes: boolean },
): Promise<void> {
  const { runtime, settings, volumes, events, clock } = context;
  const anonymous = options.volumes ? (settings.get(id)?.anonymousVolumes ?? []) : [];
  await runtime.remove(id, options);
  await settings.delete(id);
  if (anonymous.length === 0) return;
  const used = new Set(
    (await runtime.list()).flatMap(({ mounts }) =>
      mounts.flatMap((m) => (m.type === 'volume' ? [m.name] : [])),
    ),
  );
  for (const name of anonymous) {
    if (used.has(name) || (await volumes.find(name)) === undefined) continue;
    await volumes.remove(name);
    events.emit(apiEvent('volume', 'destroy', name, clock.now(), { driver: 'local' }));
  }
}
