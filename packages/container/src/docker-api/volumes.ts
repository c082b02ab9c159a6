// Named volumes as Docker lists them: the engine's directories, and what was said when they were made.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Random } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { ensureDirectory, readJson, removeTree, writeJsonAtomic } from '../system/files.ts';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

/** A volume. */
export interface Volume {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly createdAt: number;
  /** Made for a container that named none. */
  readonly anonymous: boolean;
  /** Where its files are, once a container has used it. */
  readonly path: string;
}

const schema = z.object({
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  options: z.record(z.string(), z.string()),
  createdAt: z.number(),
  anonymous: z.boolean(),
});

/** The volumes of an engine. */
export class VolumeStore {
  private readonly notes: string;
  private readonly data: string;
  private readonly clock: Clock;
  private readonly random: Random;

  private constructor(home: string, clock: Clock, random: Random) {
    this.notes = join(home, 'docker-api', 'volumes');
    this.data = join(home, 'volumes');
    this.clock = clock;
    this.random = random;
  }

  /** Opens the volumes of the engine in `home`. */
  static async open(home: string, clock: Clock, random: Random): Promise<VolumeStore> {
    const store = new VolumeStore(home, clock, random);
    await ensureDirectory(store.notes);
    return store;
  }

  /** Makes a volume, or answers the one that has the name; its directory comes with the first container that uses it. */
  async create(wish: {
    name?: string | undefined;
    labels?: Readonly<Record<string, string>> | undefined;
    options?: Readonly<Record<string, string>> | undefined;
  }): Promise<Volume> {
    const anonymous = wish.name === undefined || wish.name === '';
    const name = anonymous ? Buffer.from(this.random.bytes(32)).toString('hex') : (wish.name ?? '');
    if (!NAME.test(name)) {
      throw new ContainerError('INVALID_ARGUMENT', `"${name}" is not a name for a volume`, {
        hint: 'names are letters, digits, "_", "." and "-", at most 64',
      });
    }
    const existing = await this.find(name);
    if (existing !== undefined) return existing;
    const note = {
      name,
      labels: wish.labels ?? {},
      options: wish.options ?? {},
      createdAt: this.clock.now(),
      anonymous,
    };
    await writeJsonAtomic(join(this.notes, `${name}.json`), note);
    return { ...note, path: this.pathOf(name) };
  }

  /** All volumes by name, those that the engine made for its own containers included. */
  async list(): Promise<Volume[]> {
    const noted = (await readdir(this.notes)).flatMap((file) =>
      file.endsWith('.json') ? [file.slice(0, -5)] : [],
    );
    const used = await readdir(this.data).catch(() => []);
    const names = [...new Set([...noted, ...used])].filter(
      (name) => NAME.test(name) && !name.endsWith('.tmp'),
    );
    const volumes = await Promise.all(names.sort().map((name) => this.find(name)));
    return volumes.filter((volume) => volume !== undefined);
  }

  /** A volume, if there is one of the name. */
  async find(name: string): Promise<Volume | undefined> {
    if (!NAME.test(name)) return undefined;
    const parsed = schema.safeParse(await readJson(join(this.notes, `${name}.json`)).catch(() => undefined));
    if (parsed.success) return { ...parsed.data, path: this.pathOf(name) };
    const info = await stat(join(this.data, name)).catch(() => undefined);
    if (info === undefined) return undefined;
    const made = { labels: {}, options: {}, createdAt: Math.floor(info.birthtimeMs), anonymous: false };
    return { name, ...made, path: this.pathOf(name) };
  }

  /** A volume. Throws `VOLUME_NOT_FOUND`. */
  async get(name: string): Promise<Volume> {
    const volume = await this.find(name);
    if (volume !== undefined) return volume;
    throw new ContainerError('VOLUME_NOT_FOUND', `no such volume: ${name}`);
  }

  /** Deletes a volume with its files; the caller has made sure that no container uses it. */
  async remove(name: string): Promise<void> {
    await this.get(name);
    await removeTree(join(this.data, name));
    await removeTree(join(this.notes, `${name}.json`));
  }

  /** Where the files of a volume are, or will be. */
  pathOf(name: string): string {
    return join(this.data, name, 'data');
  }
}
