// Snapshots on overlayfs: stacks of directories by name, prepared, written through a mount, and committed.

import { chmod, mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type Clock, isHeptadError, systemClock } from '@heptad/core';
import { ContainerError, diskError } from '../errors.ts';
import { isRootless } from '../rootless/enter.ts';
import { discardTree, removeTree, syncDirectory, writeJsonAtomic } from '../system/files.ts';
import { type Labels, mergeLabels, validateLabels } from './content-labels.ts';
import type { ContentStore } from './content-store.ts';
import type { Digest } from './digest.ts';
import { diskUsage, type Usage } from './disk-usage.ts';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from './layer-limits.ts';
import { LayerUnpacker } from './layer-unpacker.ts';
import type { Descriptor } from './manifest.ts';
import { type Mount, mountAll } from './mounts.ts';
import { alreadyExists, SnapshotDirectory } from './snapshot-directory.ts';
import {
  MAX_DEPTH,
  META,
  NEXT_META,
  readSnapshot,
  readSnapshotDirectory,
  type Snapshot,
  type SnapshotKind,
  settleMeta,
} from './snapshot-info.ts';

/** Options of {@link Snapshotter.open}. */
export interface SnapshotterOptions {
  /** How far one layer may go when unpacked. */
  readonly limits?: Partial<LayerLimits>;
  readonly clock?: Clock;
}

/** Options of {@link Snapshotter.prepare}, {@link Snapshotter.view} and {@link Snapshotter.commit}. */
export interface SnapshotOptions {
  readonly labels?: Labels;
}

/**
 * Snapshots below one directory: `<name>/{fs,work,meta.json}`, and `l/<short>` links to the `fs` of committed ones.
 * The contract follows containerd's `core/snapshots/snapshotter.go`: `prepare` or `view` gives mounts, `commit` turns
 * what was written into a snapshot that others can stand on, and every name or key is unique.
 */
export class Snapshotter {
  readonly path: string;
  private readonly directory: SnapshotDirectory;
  private readonly unpacker: LayerUnpacker;
  private readonly clock: Clock;
  private readonly rootless = isRootless();

  private constructor(directory: SnapshotDirectory, limits: LayerLimits, clock: Clock) {
    this.path = directory.path;
    this.directory = directory;
    this.unpacker = new LayerUnpacker(directory, limits, clock);
    this.clock = clock;
  }

  /** Opens (and makes) the directory. Throws `INVALID_ARGUMENT` for a path that mount options cannot hold. */
  static async open(path: string, options: SnapshotterOptions = {}): Promise<Snapshotter> {
    const limits = { ...DEFAULT_LAYER_LIMITS, ...options.limits };
    return new Snapshotter(await SnapshotDirectory.open(path), limits, options.clock ?? systemClock);
  }

  /** The snapshot of this name or key, or undefined when there is none. Throws `STORE_CORRUPT`. */
  async find(name: string): Promise<Snapshot | undefined> {
    return await readSnapshot(this.path, name);
  }

  /** The snapshot of this name or key. Throws `SNAPSHOT_NOT_FOUND`, `STORE_CORRUPT`. */
  async stat(name: string): Promise<Snapshot> {
    const snapshot = await this.find(name);
    if (snapshot !== undefined) return snapshot;
    throw new ContainerError('SNAPSHOT_NOT_FOUND', `there is no snapshot ${name}`, { details: { name } });
  }

  /**
   * Changes labels: all, or only those that `fieldPaths` name (`labels.KEY`; missing or empty removes).
   * Throws `SNAPSHOT_NOT_FOUND`, `INVALID_ARGUMENT`.
   */
  async update(
    name: string,
    update: { readonly labels: Labels },
    fieldPaths: readonly string[] = [],
  ): Promise<Snapshot> {
    return await this.directory.mutex.run(async () => {
      const before = await this.stat(name);
      const labels = mergeLabels(before.labels, update.labels, fieldPaths);
      const after = { ...before, labels, updatedAt: this.clock.now() };
      await writeJsonAtomic(join(this.directory.of(name), META), after);
      return after;
    });
  }

  /** What the snapshot itself takes on the disk, without its parents. Throws `SNAPSHOT_NOT_FOUND`. */
  async usage(name: string, signal?: AbortSignal): Promise<Usage> {
    const snapshot = await this.stat(name);
    if (snapshot.kind === 'committed') return { inodes: snapshot.entries, bytes: snapshot.bytes };
    return await diskUsage(this.directory.fs(name), signal);
  }

  /** Mounts of an active snapshot or a view. Throws `SNAPSHOT_NOT_FOUND`, `INVALID_ARGUMENT` for a committed one. */
  async mounts(key: string): Promise<Mount[]> {
    const snapshot = await this.stat(key);
    if (snapshot.kind === 'committed') {
      throw new ContainerError(
        'INVALID_ARGUMENT',
        `cannot mount snapshot ${key}: it is committed and never changes`,
        { hint: 'prepare or view a snapshot on top of it, and mount that' },
      );
    }
    const lowers = snapshot.parent === undefined ? [] : await this.layers(snapshot.parent);
    const writable = snapshot.kind === 'active';
    const [only] = lowers;
    if (only === undefined) return [bind(this.directory.fs(key), writable)];
    if (!writable && lowers.length === 1) return [bind(this.directory.fs(only.name), false)];
    const work = join(this.directory.of(key), 'work');
    return [this.overlay(lowers, writable ? { upper: this.directory.fs(key), work } : undefined)];
  }

  /**
   * Begins an active snapshot on top of a committed one (or of nothing) and returns the mounts to write through.
   * Throws `ALREADY_EXISTS` for a key in use, `SNAPSHOT_NOT_FOUND`, `INVALID_ARGUMENT` for a parent that is not committed.
   */
  async prepare(key: string, parent?: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return await this.begin('active', key, parent, options);
  }

  /** {@link prepare} for reading only: cannot be committed. */
  async view(key: string, parent?: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return await this.begin('view', key, parent, options);
  }

  /**
   * Makes what was written under `key` a committed snapshot called `name`; the key is free again. Unmount it before.
   * Throws `SNAPSHOT_NOT_FOUND`, `ALREADY_EXISTS`, `INVALID_ARGUMENT` unless `key` is active, `NO_SPACE`.
   */
  async commit(name: string, key: string, options: SnapshotOptions = {}): Promise<Snapshot> {
    const active = await this.stat(key);
    if (active.kind !== 'active')
      throw new ContainerError('INVALID_ARGUMENT', `cannot commit ${key}: it is ${active.kind}, not active`);
    if ((await this.find(name)) !== undefined) throw alreadyExists(name);
    validateLabels(options.labels ?? {});
    const own = this.directory.of(key);
    try {
      const usage = await diskUsage(this.directory.fs(key));
      const now = this.clock.now();
      const link = await this.directory.chooseLink(name);
      const committed: Snapshot = {
        ...{ ...active, name, kind: 'committed', createdAt: now, updatedAt: now, link },
        ...{ labels: options.labels ?? {}, entries: usage.inodes, bytes: usage.bytes },
      };
      await writeJsonAtomic(join(own, NEXT_META), committed, { durable: false });
      await this.directory.makeDurable(own);
      await this.directory.mutex.run(() => this.directory.publish(own, name, link));
      await settleMeta(this.path, name);
      await removeTree(join(this.directory.of(name), 'work'));
      return committed;
    } catch (error) {
      throw diskError(error, `commit snapshot ${name}`);
    }
  }

  /**
   * Extracts one layer over `parent` unless it is here already. Two callers at once share the work, and the layers of an
   * image may be given all at once, bottom first: a parent that is still being extracted is waited for.
   * Throws `UNSAFE_ARCHIVE`, `ARCHIVE_TOO_LARGE`, `ARCHIVE_INVALID`, `DIGEST_MISMATCH`, `NO_SPACE`; nothing is left behind.
   */
  async applyLayer(
    content: ContentStore,
    layer: Descriptor,
    diffId: Digest,
    chainId: Digest,
    parent?: Digest,
  ): Promise<Snapshot> {
    return await this.unpacker.unpack(content, { layer, diffId, chainId, parent });
  }

  /** A committed snapshot and those it stands on, top first. Throws `STORE_CORRUPT` when one is missing. */
  async layers(name: string): Promise<Snapshot[]> {
    const stack: Snapshot[] = [];
    for (let next: string | undefined = name; next !== undefined; ) {
      const snapshot: Snapshot | undefined = await this.find(next);
      if (snapshot === undefined || stack.length >= MAX_DEPTH) {
        const why =
          snapshot === undefined ? `snapshot ${next} is missing` : `snapshot ${name} stands on itself`;
        throw new ContainerError('STORE_CORRUPT', why, {
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
    await mountAll([this.overlay(await this.layers(chainId), { upper, work })], target);
  }

  /**
   * The overlay of a stack, for whoever mounts it himself: through `place.layers`, where this store's directory is mounted
   * again. Options are relative to `directory`.
   */
  async describe(
    chainId: Digest,
    place: { readonly upper: string; readonly work: string; readonly layers: string },
  ): Promise<{ options: string; directory: string }> {
    const { options } = this.overlay(await this.layers(chainId), place);
    const links = relative(this.path, this.directory.links);
    return { options: options.join(','), directory: join(place.layers, links) };
  }

  /** Removes a snapshot. Throws `SNAPSHOT_NOT_FOUND`, `SNAPSHOT_IN_USE` when another stands on it. */
  async remove(name: string): Promise<void> {
    await this.directory.mutex.run(async () => {
      await this.stat(name);
      for await (const child of this.walk(({ parent }) => parent === name)) {
        throw new ContainerError(
          'SNAPSHOT_IN_USE',
          `cannot remove snapshot ${name}: ${child.name} stands on it`,
          { hint: 'remove that one first', details: { child: child.name } },
        );
      }
      await this.directory.drop([name]);
    });
  }

  /** Takes snapshots away whatever their state, and whether or not others stand on them. For collections and repairs. */
  async drop(...names: string[]): Promise<void> {
    await this.directory.drop(names);
  }

  /** Every snapshot, or those that `filter` accepts. Damaged ones are left out: `ContainerEngine.check()` names them. */
  async *walk(filter: (info: Snapshot) => boolean = () => true): AsyncGenerator<Snapshot> {
    for (const directory of await this.directory.list()) {
      const snapshot = await readSnapshotDirectory(this.path, directory).catch((error: unknown) => {
        if (!isHeptadError(error, 'STORE_CORRUPT')) throw error;
        return undefined;
      });
      if (snapshot !== undefined && filter(snapshot)) yield snapshot;
    }
  }

  /** Names of all snapshots. */
  async list(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.walk()) names.push(name);
    return names;
  }

  /** Names of the directories that hold snapshots, whole and damaged ones. */
  async directories(): Promise<string[]> {
    return await this.directory.list();
  }

  /** Deletes what processes that are gone left half made or half removed; returns how much. Safe at any time. */
  async cleanup(): Promise<number> {
    return await this.directory.cleanup();
  }

  /** Waits for what is being unpacked; may be called again. */
  async close(): Promise<void> {
    await this.unpacker.settled();
  }

  /** Whether a committed snapshot can be mounted by its link; others have none. */
  async hasLink(snapshot: Snapshot): Promise<boolean> {
    if (snapshot.kind !== 'committed') return true;
    if (snapshot.link === undefined) return false;
    const own = this.directory.of(snapshot.name).slice(this.path.length + 1);
    return (await this.directory.leadsTo(snapshot.link, own)) === true;
  }

  private overlay(lowers: readonly Snapshot[], own?: { upper: string; work: string }): Mount {
    const layers = `lowerdir=${lowers.map(({ link }) => link).join(':')}`;
    const writable = own === undefined ? [] : [`upperdir=${own.upper}`, `workdir=${own.work}`];
    return {
      type: 'overlay',
      source: 'overlay',
      // In a user namespace nobody may write the trusted attributes that overlayfs uses otherwise.
      options: [layers, ...writable, 'index=off', ...(this.rootless ? ['userxattr'] : [])],
      directory: this.directory.links,
    };
  }

  private async begin(
    kind: SnapshotKind,
    key: string,
    parent: string | undefined,
    options: SnapshotOptions,
  ): Promise<Mount[]> {
    if (key === '') throw new ContainerError('INVALID_ARGUMENT', 'cannot begin a snapshot without a key');
    validateLabels(options.labels ?? {});
    if ((await this.find(key)) !== undefined) throw alreadyExists(key);
    const temporary = this.directory.temporary();
    try {
      // One by one: a recursive mkdir calls a read-only file system ENOENT.
      await mkdir(temporary);
      await mkdir(join(temporary, 'fs'));
      // Not left to the umask: it is what a container sees as its root.
      await chmod(join(temporary, 'fs'), 0o755);
      if (kind === 'active') await mkdir(join(temporary, 'work'), { mode: 0o700 });
      const now = this.clock.now();
      const snapshot: Snapshot = {
        ...{ name: key, kind, ...(parent === undefined ? {} : { parent }) },
        ...{ labels: options.labels ?? {}, createdAt: now, updatedAt: now },
        ...{ entries: 0, bytes: 0, skippedXattrs: 0 },
      };
      await writeJsonAtomic(join(temporary, META), snapshot);
      await syncDirectory(temporary);
      await this.directory.mutex.run(async () => {
        const below = parent === undefined ? undefined : await this.stat(parent);
        if (below !== undefined && below.kind !== 'committed')
          throw new ContainerError('INVALID_ARGUMENT', `cannot stand on ${parent}: it is not committed`);
        await this.directory.publish(temporary, key);
      });
    } catch (error) {
      await discardTree(temporary);
      throw diskError(error, `prepare snapshot ${key}`);
    }
    return await this.mounts(key);
  }
}

function bind(source: string, writable: boolean): Mount {
  return { type: 'bind', source, options: [writable ? 'rw' : 'ro'] };
}
