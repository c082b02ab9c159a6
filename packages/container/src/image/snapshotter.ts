// Extracted layers by ChainID, and the overlayfs mounts that stack them under a container's own writable layer.

import { mkdir, mkdtemp, readdir, readlink, rename, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { runOrThrow } from '../system/command.ts';
import { ensureDirectory, readJson, removeTree, syncDirectory, writeJsonAtomic } from '../system/files.ts';
import type { ContentStore } from './content-store.ts';
import { type Digest, digestHex } from './digest.ts';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from './extract-layer.ts';
import type { Descriptor } from './manifest.ts';
import { extractLayer } from './stream-layer.ts';

/** A committed snapshot: one layer over its parent. */
export interface Snapshot {
  readonly chainId: Digest;
  readonly parent?: Digest | undefined;
  readonly diffId: Digest;
  /** Short name of the symbolic link used in mount options, which have 4096 bytes for all layers together. */
  readonly link: string;
  readonly entries: number;
  readonly bytes: number;
  readonly skippedXattrs: number;
}

const schema = z.object({
  chainId: z.string(),
  parent: z.string().optional(),
  diffId: z.string(),
  link: z.string().regex(/^[0-9a-f]{12,64}$/),
  entries: z.number(),
  bytes: z.number(),
  skippedXattrs: z.number(),
});

// 127 layers of this and a colon are 1651 bytes of mount options.
const LINK_LENGTH = 12;

/** Directories of extracted layers: `<chain hex>/{fs,meta.json}`, and `l/<short>` links to them. */
export class Snapshotter {
  readonly path: string;
  private readonly limits: LayerLimits;
  private readonly running = new Map<Digest, Promise<Snapshot>>();

  private constructor(path: string, limits: LayerLimits) {
    this.path = path;
    this.limits = limits;
  }

  /** Opens (and makes) the directory. */
  static async open(path: string, limits: Partial<LayerLimits> = {}): Promise<Snapshotter> {
    if (/[:,\\\s]/.test(path)) {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot keep images in ${path}: overlayfs options cannot hold ":", ",", "\\" or spaces`,
        {
          hint: 'choose a home directory without these characters',
        },
      );
    }
    await ensureDirectory(join(path, 'l'));
    return new Snapshotter(path, { ...DEFAULT_LAYER_LIMITS, ...limits });
  }

  /** The snapshot, or undefined when it is not here. */
  async stat(chainId: Digest): Promise<Snapshot | undefined> {
    const json = await readJson(join(this.path, digestHex(chainId), 'meta.json'));
    if (json === undefined) return undefined;
    const result = schema.safeParse(json);
    if (result.success && result.data.chainId === chainId) return result.data;
    throw new ContainerError('STORE_CORRUPT', `snapshot ${chainId} has a damaged meta.json`, {
      hint: 'ContainerEngine.repair() drops it; it is extracted again when needed',
      details: { chainId },
    });
  }

  /** Extracts one layer over `parent` unless it is here already. Two callers at once share the work. */
  async commit(
    content: ContentStore,
    layer: Descriptor,
    diffId: Digest,
    chainId: Digest,
    parent?: Digest,
  ): Promise<Snapshot> {
    const known = await this.stat(chainId);
    if (known !== undefined) return known;
    const started = this.running.get(chainId);
    if (started !== undefined) return await started;
    const work = this.extract(content, layer, diffId, chainId, parent).finally(() =>
      this.running.delete(chainId),
    );
    this.running.set(chainId, work);
    return await work;
  }

  /** Throws `STORE_CORRUPT` unless the snapshot, its link and its parents are here. */
  async verify(chainId: Digest): Promise<void> {
    for (const { link, chainId: layer } of await this.layers(chainId)) {
      if (await this.linkLeadsTo(link, digestHex(layer)).catch(() => false)) continue;
      throw new ContainerError('STORE_CORRUPT', `snapshot ${layer} has lost its link l/${link}`, {
        hint: 'ContainerEngine.repair() drops it; it is extracted again when needed',
      });
    }
  }

  /** Directories of a stack, top first. */
  async layers(chainId: Digest): Promise<Snapshot[]> {
    const stack: Snapshot[] = [];
    for (let next: Digest | undefined = chainId; next !== undefined; ) {
      const snapshot: Snapshot | undefined = await this.stat(next);
      if (snapshot === undefined) {
        throw new ContainerError('STORE_CORRUPT', `snapshot ${next} is missing`, {
          hint: 'unpack the image again',
        });
      }
      stack.push(snapshot);
      next = snapshot.parent;
    }
    return stack;
  }

  /** Mounts a stack under the writable directory `upper` at `target`. */
  async mount(chainId: Digest, upper: string, work: string, target: string): Promise<void> {
    const lower = (await this.layers(chainId)).map((snapshot) => snapshot.link).join(':');
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work},index=off`;
    await runOrThrow('mount', ['-t', 'overlay', 'overlay', '-o', options, target], {
      cwd: join(this.path, 'l'),
    });
  }

  /** Deletes a snapshot that nothing stands on. */
  async remove(chainId: Digest): Promise<void> {
    const snapshot = await this.stat(chainId).catch(() => undefined);
    if (snapshot !== undefined) await removeTree(join(this.path, 'l', snapshot.link));
    const doomed = join(this.path, `tmp-removed-${digestHex(chainId)}`);
    await removeTree(doomed);
    // Renamed first: a crash half way must not leave a snapshot that looks whole.
    await rename(join(this.path, digestHex(chainId)), doomed).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
    await removeTree(doomed);
  }

  /** ChainIDs of all snapshots. */
  async list(): Promise<Digest[]> {
    const names = await readdir(this.path);
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`);
  }

  /** Whether a snapshot was committed at or before this time. */
  async olderThan(chainId: Digest, before: number): Promise<boolean> {
    const info = await stat(join(this.path, digestHex(chainId), 'meta.json')).catch(() => undefined);
    // One without its description is broken, and no use to anybody.
    return info === undefined || info.mtimeMs <= before;
  }

  /** Deletes half-made snapshots that a dead process left; returns how many. */
  async deleteUnfinished(isStale: (name: string) => Promise<boolean>): Promise<number> {
    let deleted = 0;
    for (const name of await readdir(this.path)) {
      if (!name.startsWith('tmp-') || !(await isStale(join(this.path, name)))) continue;
      await removeTree(join(this.path, name));
      deleted += 1;
    }
    return deleted;
  }

  private async extract(
    content: ContentStore,
    layer: Descriptor,
    diffId: Digest,
    chainId: Digest,
    parent?: Digest,
  ): Promise<Snapshot> {
    const lowers = parent === undefined ? [] : await this.layers(parent);
    const temporary = await mkdtemp(join(this.path, 'tmp-'));
    try {
      const root = join(temporary, 'fs');
      await mkdir(root, { mode: 0o755 });
      const result = await extractLayer(content, layer, diffId, {
        root,
        layout: 'overlay',
        lowers: lowers.map((lower) => join(this.path, digestHex(lower.chainId), 'fs')),
        limits: this.limits,
      });
      const link = await this.makeLink(chainId);
      const snapshot: Snapshot = {
        chainId,
        ...(parent === undefined ? {} : { parent }),
        diffId,
        link,
        ...result,
      };
      await writeJsonAtomic(join(temporary, 'meta.json'), snapshot);
      // One syncfs instead of an fsync per file: the snapshot's name must never lead to empty files after a power cut.
      await runOrThrow('sync', ['-f', temporary], { timeoutMs: 300_000 });
      await this.publish(temporary, chainId);
      return snapshot;
    } catch (error) {
      await removeTree(temporary);
      throw diskError(error, `unpack layer ${layer.digest}`);
    }
  }

  private async publish(temporary: string, chainId: Digest): Promise<void> {
    try {
      await rename(temporary, join(this.path, digestHex(chainId)));
    } catch (error) {
      // Another process was first; what it made has the same name and so the same content.
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
      await removeTree(temporary);
    }
    await syncDirectory(this.path);
  }

  private async makeLink(chainId: Digest): Promise<string> {
    const hex = digestHex(chainId);
    for (let length = LINK_LENGTH; length <= hex.length; length += 1) {
      const name = hex.slice(0, length);
      try {
        await symlink(join('..', hex, 'fs'), join(this.path, 'l', name));
        return name;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        if (await this.linkLeadsTo(name, hex)) return name;
      }
    }
    throw new ContainerError('STORE_CORRUPT', `cannot name snapshot ${chainId}: every short name is taken`);
  }

  private async linkLeadsTo(name: string, hex: string): Promise<boolean> {
    return (await readlink(join(this.path, 'l', name))) === join('..', hex, 'fs');
  }
}
