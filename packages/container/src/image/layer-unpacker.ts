// Layers of images become committed snapshots named by their ChainID: extracted once, whoever asks and however often.

import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, isHeptadError } from '@heptad/core';
import { diskError } from '../errors.ts';
import { removeTree, writeJsonAtomic } from '../system/files.ts';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import type { LayerLimits } from './extract-layer.ts';
import type { Descriptor } from './manifest.ts';
import type { SnapshotDirectory } from './snapshot-directory.ts';
import { META, readSnapshot, type Snapshot } from './snapshot-info.ts';
import { extractLayer } from './stream-layer.ts';

/** A layer to unpack. */
export interface LayerToUnpack {
  readonly layer: Descriptor;
  /** Digest of the uncompressed archive. */
  readonly diffId: Digest;
  readonly chainId: Digest;
  /** Snapshots below, top first. */
  readonly below: readonly Snapshot[];
}

/** Unpacks layers; two callers at once share the work. */
export class LayerUnpacker {
  private readonly directory: SnapshotDirectory;
  private readonly limits: LayerLimits;
  private readonly clock: Clock;
  private readonly running = new Map<Digest, Promise<Snapshot>>();

  constructor(directory: SnapshotDirectory, limits: LayerLimits, clock: Clock) {
    this.directory = directory;
    this.limits = limits;
    this.clock = clock;
  }

  /** The snapshot of a layer, extracted if it is not there. Throws what {@link extractLayer} throws, `NO_SPACE`. */
  async unpack(
    content: ContentStore,
    chainId: Digest,
    describe: () => Promise<LayerToUnpack>,
  ): Promise<Snapshot> {
    const started = this.running.get(chainId);
    if (started !== undefined) return await started;
    const work = this.find(chainId)
      .then(async (known) => known ?? (await this.extract(content, await describe())))
      .finally(() => this.running.delete(chainId));
    this.running.set(chainId, work);
    return await work;
  }

  /** Resolves when nothing is being unpacked. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.running.values());
  }

  private async find(chainId: Digest): Promise<Snapshot | undefined> {
    return await readSnapshot(this.directory.path, chainId);
  }

  private async extract(content: ContentStore, todo: LayerToUnpack): Promise<Snapshot> {
    const { layer, diffId, chainId, below } = todo;
    const temporary = this.directory.temporary();
    try {
      const root = join(temporary, 'fs');
      await mkdir(root, { recursive: true });
      // Not left to the umask: it is what a container sees as its root.
      await chmod(root, 0o755);
      const result = await extractLayer(content, layer, diffId, {
        root,
        layout: 'overlay',
        lowers: below.map((lower) => this.directory.fs(lower.name)),
        limits: this.limits,
      });
      const now = this.clock.now();
      const parent = below[0]?.name;
      const link = await this.directory.chooseLink(chainId);
      const snapshot: Snapshot = {
        ...{ name: chainId, kind: 'committed', ...(parent === undefined ? {} : { parent }), diffId, link },
        ...{ labels: {}, createdAt: now, updatedAt: now, ...result },
      };
      await writeJsonAtomic(join(temporary, META), snapshot, { durable: false });
      await this.directory.makeDurable(temporary);
      await this.directory.mutex.run(() => this.directory.publish(temporary, chainId, link));
      return snapshot;
    } catch (error) {
      await removeTree(temporary);
      // Another process was first; what it made has the same name and so the same content.
      if (isHeptadError(error, 'ALREADY_EXISTS')) return (await this.find(chainId)) ?? Promise.reject(error);
      throw diskError(error, `unpack layer ${layer.digest}`);
    }
  }
}
