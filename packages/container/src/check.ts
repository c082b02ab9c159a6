// Reads an engine's whole state on disk and says what is damaged; repair drops exactly that.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errorMessage } from '@heptad/core';
import { checkStore } from './image/check-store.ts';
import type { ImageStore } from './image/image-store.ts';
import type { ManagedRuntime } from './lifecycle/managed-runtime.ts';

/** One damaged thing. */
export interface Damage {
  readonly what: 'blob' | 'labels' | 'referrer' | 'snapshot' | 'image' | 'container';
  /** Digest, name or id. */
  readonly which: string;
  readonly why: string;
  /** What {@link ContainerEngine.repair} did about it. */
  readonly repaired?: string;
}

/** How far {@link ContainerEngine.check} and {@link ContainerEngine.repair} look. */
export interface CheckOptions {
  /**
   * Read every blob and compare its digest: as slow as the disk. Default false: whether everything is there, whole and
   * of the right size, and the digests of manifests and configs.
   */
  readonly deep?: boolean;
  readonly signal?: AbortSignal;
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
  options: CheckOptions = {},
): Promise<CheckReport> {
  const store = await checkStore(images, options);
  const damage = [...store.damage];
  const containers = await runtime.damagedContainers();
  for (const [id, error] of containers.damaged)
    damage.push({ what: 'container', which: id, why: errorMessage(error) });
  return {
    ok: damage.length === 0,
    damage,
    checked: { ...store.checked, containers: containers.total },
  };
}

/** See {@link ContainerEngine.repair}. */
export async function repairEngine(
  images: ImageStore,
  runtime: ManagedRuntime,
  options: CheckOptions = {},
): Promise<CheckReport> {
  const report = await checkEngine(images, runtime, options);
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
    case 'labels':
      await images.content.labels.delete(damage.which);
      return 'deleted; the blob stays';
    case 'referrer':
      await images.referrerIndex.drop(damage.which);
      return 'deleted; attach or pull the signature or SBOM again';
    case 'snapshot':
      await images.snapshots.drop(damage.which);
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
