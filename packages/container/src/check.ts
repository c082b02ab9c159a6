// Reads an engine's whole state on disk and says what is damaged; repair drops exactly that.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errorMessage } from '@heptad/core';
import type { ImageStore } from './image/image-store.ts';
import type { ManagedRuntime } from './lifecycle/managed-runtime.ts';

/** One damaged thing. */
export interface Damage {
  readonly what: 'blob' | 'snapshot' | 'image' | 'container';
  /** Digest, name or id. */
  readonly which: string;
  readonly why: string;
  /** What {@link ContainerEngine.repair} did about it. */
  readonly repaired?: string;
}

/** What {@link ContainerEngine.check} and {@link ContainerEngine.repair} return. */
export interface CheckReport {
  readonly ok: boolean;
  readonly damage: readonly Damage[];
  /** Things looked at. */
  readonly checked: {
    readonly blobs: number;
    readonly snapshots: number;
    readonly images: number;
    readonly containers: number;
  };
}

/** See {@link ContainerEngine.check}. */
export async function checkEngine(
  images: ImageStore,
  runtime: ManagedRuntime,
  options: { signal?: AbortSignal } = {},
): Promise<CheckReport> {
  const damage: Damage[] = [];
  const find = async (what: Damage['what'], which: string, look: () => Promise<unknown>): Promise<void> => {
    options.signal?.throwIfAborted();
    await look().catch((error: unknown) => damage.push({ what, which, why: errorMessage(error) }));
  };
  let blobs = 0;
  for await (const { digest } of images.content.list()) {
    blobs += 1;
    await find('blob', digest, () => images.content.verify(digest));
  }
  const snapshots = await images.snapshots.list();
  for (const chainId of snapshots) await find('snapshot', chainId, () => images.snapshots.verify(chainId));
  const tags = await images.tagFiles();
  for (const file of tags) {
    await find('image', file, async () => {
      const { name } = await images.readTagFile(file);
      await images.requireWhole(name);
    });
  }
  const containers = await runtime.damagedContainers();
  for (const [id, error] of containers.damaged)
    damage.push({ what: 'container', which: id, why: errorMessage(error) });
  return {
    ok: damage.length === 0,
    damage,
    checked: { blobs, snapshots: snapshots.length, images: tags.length, containers: containers.total },
  };
}

/** See {@link ContainerEngine.repair}. */
export async function repairEngine(images: ImageStore, runtime: ManagedRuntime): Promise<CheckReport> {
  const report = await checkEngine(images, runtime);
  const damage: Damage[] = [];
  for (const found of report.damage)
    damage.push({ ...found, repaired: await repairOne(images, runtime, found) });
  return { ...report, damage };
}

async function repairOne(images: ImageStore, runtime: ManagedRuntime, damage: Damage): Promise<string> {
  switch (damage.what) {
    case 'blob':
      await images.content.delete(damage.which);
      return 'deleted; load or pull the images that need it again';
    case 'snapshot':
      await images.snapshots.remove(damage.which);
      return 'deleted; it is extracted again when a container needs it';
    case 'image': {
      const aside = join(images.home, `damaged-${damage.which}`);
      await rename(images.tagFilePath(damage.which), aside);
      return `its name was moved to ${aside}`;
    }
    case 'container':
      return `moved to ${await runtime.setAside(damage.which)}`;
  }
}
