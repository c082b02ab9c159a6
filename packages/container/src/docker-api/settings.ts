// What a client asked a container to be, in Docker's words: kept beside the engine's own record, for inspect.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '@heptad/core';
import { z } from 'zod';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';

/** Kept of a creation. */
export interface ContainerSettings {
  /** The body of the creation. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly hostConfig: Readonly<Record<string, unknown>>;
  /** Removed as soon as it has ended (`--rm`). */
  readonly autoRemove: boolean;
  /** Seconds between the stop signal and SIGKILL when a stop names none. */
  readonly stopTimeout?: number | undefined;
  /** Volumes without a name of their own: they go with the container. */
  readonly anonymousVolumes: readonly string[];
  /** Digest of the image's config, by which Docker knows images. */
  readonly imageId: string;
}

const schema: z.ZodType<ContainerSettings> = z.object({
  config: z.record(z.string(), z.unknown()),
  hostConfig: z.record(z.string(), z.unknown()),
  autoRemove: z.boolean(),
  stopTimeout: z.number().optional(),
  anonymousVolumes: z.array(z.string()),
  imageId: z.string(),
});

/** Settings by container, one file each, and all of them in memory. */
export class SettingsStore {
  private readonly directory: string;
  private readonly known = new Map<ContainerId, ContainerSettings>();
  private readonly coming = new Map<string, string>();

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Reads what is there; a file that cannot be used is as if it were not: the engine's record is the truth. */
  static async open(home: string): Promise<SettingsStore> {
    const store = new SettingsStore(join(home, 'docker-api', 'containers'));
    await ensureDirectory(store.directory);
    for (const file of await readdir(store.directory)) {
      const match = /^([0-9a-f]{64})\.json$/.exec(file);
      if (match?.[1] === undefined) continue;
      const json = await readJson(join(store.directory, file)).catch(() => undefined);
      const parsed = schema.safeParse(json);
      if (parsed.success) store.known.set(match[1], parsed.data);
    }
    return store;
  }

  /** What was asked for; undefined for a container made by other means than this API. */
  get(id: ContainerId): ContainerSettings | undefined {
    return this.known.get(id);
  }

  /** A container of this name is about to be made: the engine tells of it before its settings are kept. */
  expect(name: string, image: string): Disposable {
    this.coming.set(name, image);
    return { [Symbol.dispose]: () => this.coming.delete(name) };
  }

  /** What the image of a container was called by who made it. */
  imageOf(id: ContainerId, name: string): string {
    return String(this.known.get(id)?.config.Image ?? this.coming.get(name) ?? '');
  }

  /** Every container with settings. */
  ids(): ContainerId[] {
    return [...this.known.keys()];
  }

  /** Keeps settings. */
  async set(id: ContainerId, settings: ContainerSettings): Promise<void> {
    this.known.set(id, settings);
    await writeJsonAtomic(this.pathOf(id), settings, { durable: false });
  }

  /** Forgets a removed container. */
  async delete(id: ContainerId): Promise<void> {
    this.known.delete(id);
    await removeTree(this.pathOf(id));
  }

  private pathOf(id: ContainerId): string {
    return join(this.directory, `${id}.json`);
  }
}
