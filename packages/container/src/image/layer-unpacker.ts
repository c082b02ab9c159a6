// Layers of images become committed snapshots named by their ChainID: extracted once, whoever asks and however often.

import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, isHeptadError } from '@heptad/core';
import { ContainerError, diskError } from '../errors.ts';
import { discardTree, writeJsonAtomic } from '../system/files.ts';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import type { LayerLimits } from './layer-limits.ts';
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
  /** ChainID of the layer below. It may still be on its way here. */
  readonly parent: Digest | undefined;
}

// Decompression runs beside us in the thread pool, the rest on our one thread: more at once only take memory.
const MAX_PARALLEL = 3;

/** Unpacks layers, several at a time; two callers at once share the work on one. */
export class LayerUnpacker {
  private readonly directory: SnapshotDirectory;
  private readonly limits: LayerLimits;
  private readonly clock: Clock;
  private readonly running = new Map<Digest, Promise<Snapshot>>();
  private readonly waiting: (() => void)[] = [];
  private free = MAX_PARALLEL;

  constructor(directory: SnapshotDirectory, limits: LayerLimits, clock: Clock) {
    this.directory = directory;
    this.limits = limits;
    this.clock = clock;
  }

  /**
   * The snapshot of a layer, extracted if it is not there. The layers of an image may be given all at once: each is
   * laid out at once and becomes a snapshot when that of its parent is one.
   */
  async unpack(content: ContentStore, todo: LayerToUnpack): Promise<Snapshot> {
    const started = this.running.get(todo.chainId);
    if (started !== undefined) return await started;
    const parent = todo.parent === undefined ? undefined : this.running.get(todo.parent);
    const work = this.find(todo.chainId)
      .then(async (known) => known ?? (await this.extract(content, todo, parent)))
      .finally(() => this.running.delete(todo.chainId));
    this.running.set(todo.chainId, work);
    return await work;
  }

  /** Resolves when nothing is being unpacked. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.running.values());
  }

  private async find(chainId: Digest): Promise<Snapshot | undefined> {
    return await readSnapshot(this.directory.path, chainId);
  }

  private async extract(
    content: ContentStore,
    todo: LayerToUnpack,
    parent: Promise<Snapshot> | undefined,
  ): Promise<Snapshot> {
    const { layer, diffId, chainId } = todo;
    // Whether it failed matters only when we need it.
    parent?.catch(() => undefined);
    const leave = await this.enter();
    const temporary = this.directory.temporary();
    try {
      const root = join(temporary, 'fs');
      // One by one: a recursive mkdir calls a read-only file system ENOENT.
      await mkdir(temporary);
      await mkdir(root);
      // Not left to the umask: it is what a container sees as its root.
      await chmod(root, 0o755);
      const result = await extractLayer(content, layer, diffId, {
        root,
        layout: 'overlay',
        limits: this.limits,
        lowers: async () => {
          // Out of the way of the parent, should that still wait for its turn.
          leave();
          await parent;
          return await this.lowers(todo);
        },
      });
      return await this.publish(temporary, todo, result);
    } catch (error) {
      await discardTree(temporary);
      // Another process was first; what it made has the same name and so the same content.
      if (isHeptadError(error, 'ALREADY_EXISTS')) return (await this.find(chainId)) ?? Promise.reject(error);
      throw diskError(error, `unpack layer ${layer.digest}`);
    } finally {
      leave();
    }
  }

  private async publish(
    temporary: string,
    { chainId, diffId, parent }: LayerToUnpack,
    result: Pick<Snapshot, 'entries' | 'bytes' | 'skippedXattrs'>,
  ): Promise<Snapshot> {
    const now = this.clock.now();
    const link = await this.directory.chooseLink(chainId);
    const snapshot: Snapshot = {
      ...{ name: chainId, kind: 'committed', ...(parent === undefined ? {} : { parent }), diffId, link },
      ...{ labels: {}, createdAt: now, updatedAt: now, ...result },
    };
    await writeJsonAtomic(join(temporary, META), snapshot, { durable: false });
    await this.directory.makeDurable(temporary);
    await this.directory.mutex.run(() => this.directory.publish(temporary, chainId, link));
    return snapshot;
  }

  /** Directories of the layers below, top first. */
  private async lowers({ chainId, parent }: LayerToUnpack): Promise<string[]> {
    const paths: string[] = [];
    for (let next = parent; next !== undefined; ) {
      const snapshot: Snapshot | undefined = await this.find(next);
      if (snapshot === undefined) {
        throw new ContainerError('STORE_CORRUPT', `cannot unpack ${chainId}: snapshot ${next} is missing`, {
          hint: 'unpack the image again',
        });
      }
      paths.push(this.directory.fs(next));
      next = snapshot.parent;
    }
    return paths;
  }

  /** Waits for a turn; what it returns gives the turn back, and may be called again. */
  private async enter(): Promise<() => void> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      const next = this.waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    };
  }
}
