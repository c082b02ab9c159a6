// Looks through an image store for damage: blobs, labels, snapshots and names. Changes nothing.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorMessage } from '@heptad/core';
import type { CheckOptions, Damage } from '../check.ts';
import { ContainerError } from '../errors.ts';
import type { Digest } from './digest.ts';
import type { ImageStore } from './image-store.ts';
import { readSnapshotDirectory, type Snapshot } from './snapshot-info.ts';

/** What was found and how much was looked at. */
export interface StoreReport {
  readonly damage: readonly Damage[];
  readonly checked: { readonly blobs: number; readonly snapshots: number; readonly images: number };
}

/** Looks through the store; the digest of every blob only when asked for. */
export async function checkStore(images: ImageStore, options: CheckOptions = {}): Promise<StoreReport> {
  const damage: Damage[] = [];
  const find = async (what: Damage['what'], which: string, look: () => Promise<unknown>): Promise<void> => {
    options.signal?.throwIfAborted();
    await look().catch((error: unknown) => damage.push({ what, which, why: errorMessage(error) }));
  };
  const blobs = new Set(await images.content.digests());
  if (options.deep === true)
    for (const digest of blobs) await find('blob', digest, () => images.content.verify(digest));
  for (const digest of await images.content.labels.digests())
    if (blobs.has(digest)) await find('labels', digest, () => images.content.labels.read(digest));
  const snapshots = await checkSnapshots(images, find);
  for (const entry of await images.referrerIndex.entries())
    await find('referrer', entry, () => images.referrerIndex.read(entry));
  const sizes = new Map<Digest, number>();
  const tags = await images.tagFiles();
  for (const file of tags) {
    await find('image', file, async () => {
      const { name } = await images.readTagFile(file);
      for (const part of await images.parts(name)) sizes.set(part.digest, part.size);
    });
  }
  for (const [digest, size] of sizes) await find('blob', digest, () => requireSize(images, digest, size));
  return {
    // A blob can be damaged in two ways; one line about it is enough.
    damage: [...new Map(damage.map((each) => [`${each.what} ${each.which}`, each])).values()],
    checked: { blobs: blobs.size, snapshots, images: tags.length },
  };
}

type Find = (what: Damage['what'], which: string, look: () => Promise<unknown>) => Promise<void>;

async function requireSize(images: ImageStore, digest: Digest, size: number): Promise<void> {
  const info = await images.content.info(digest);
  if (info === undefined || info.size === size) return;
  throw new ContainerError(
    'STORE_CORRUPT',
    `content ${digest} is damaged on disk: it has ${info.size} bytes instead of ${size}`,
  );
}

/** One pass over all: a look from each up to its base would be quadratic. */
async function checkSnapshots(images: ImageStore, find: Find): Promise<number> {
  const directories = await images.snapshots.directories();
  const whole = new Map<string, Snapshot>();
  for (const directory of directories) {
    await find('snapshot', `sha256:${directory}`, async () => {
      const snapshot = await readSnapshotDirectory(images.snapshots.path, directory);
      if (snapshot === undefined) return;
      whole.set(snapshot.name, snapshot);
      if (!(await images.snapshots.hasLink(snapshot)))
        throw new ContainerError('STORE_CORRUPT', `snapshot ${snapshot.name} has lost its link`);
      if (!(await stat(join(images.snapshots.path, directory, 'fs'))).isDirectory())
        throw new ContainerError('STORE_CORRUPT', `snapshot ${snapshot.name} has lost its files`);
    });
  }
  for (const { name, parent } of whole.values()) {
    if (parent === undefined || whole.has(parent)) continue;
    await find('snapshot', name, async () => {
      throw new ContainerError('STORE_CORRUPT', `snapshot ${name} stands on ${parent}, which is missing`);
    });
  }
  return directories.length;
}
