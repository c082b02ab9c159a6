// What is attached to an image: signatures, SBOMs and other artifacts, found by the digest of what they are about.

import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';
import { ensureDirectory, readJson, removeTree, syncDirectory, writeJsonAtomic } from '../system/files.ts';
import { type Digest, digestHex } from './digest.ts';
import type { Descriptor } from './manifest.ts';

/** A manifest attached to another one. */
export interface Referrer {
  /** The attached manifest, in the content store. */
  readonly descriptor: Descriptor;
  /** What kind of thing it is: its `artifactType`, or the media type of its config when it has none. */
  readonly artifactType: string;
  /**
   * The tag it is found by, in the repository of its subject, when it has no `subject` field: cosign's
   * `sha256-<hex>.sig`. Absent for an OCI 1.1 referrer, which a registry finds by its `subject`.
   */
  readonly tag?: string | undefined;
}

/** One image has a handful of signatures and SBOMs; a flood of them is an attack on whoever verifies them. */
export const MAX_REFERRERS = 256;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const schema = z.object({
  descriptor: z.object({
    mediaType: z.string(),
    digest: z.string().regex(DIGEST),
    size: z.number().int().nonnegative(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  artifactType: z.string(),
  tag: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/)
    .optional(),
});

/**
 * The index of referrers of an image store: `referrers/<subject's hex>/<name>.json`, one small file each, so that two
 * processes may attach things to one image at once. The name is the referrer's digest, or its tag: what has a tag
 * replaces what had that tag before.
 */
export class ReferrerIndex {
  private readonly directory: string;

  constructor(home: string) {
    this.directory = join(home, 'referrers');
  }

  /** Records that `referrer` is about `subject`; again is fine. Throws `LIMIT_EXCEEDED`. */
  async add(subject: Digest, referrer: Referrer): Promise<void> {
    const directory = this.of(subject);
    await ensureDirectory(this.directory);
    await ensureDirectory(directory);
    const file = `${referrer.tag ?? digestHex(referrer.descriptor.digest)}.json`;
    const present = await this.files(subject);
    if (present.length >= MAX_REFERRERS && !present.includes(file)) {
      throw new ContainerError(
        'LIMIT_EXCEEDED',
        `cannot attach ${referrer.descriptor.digest} to ${subject}: it has ${present.length} referrers already`,
        { hint: 'remove the image and its referrers, then attach those that are needed' },
      );
    }
    await writeJsonAtomic(join(directory, file), referrer);
    await syncDirectory(this.directory);
  }

  /** What is attached to `subject`, in the order of their digests. Throws `STORE_CORRUPT`. */
  async list(subject: Digest): Promise<Referrer[]> {
    const referrers: Referrer[] = [];
    for (const file of await this.files(subject)) {
      const referrer = await this.read(`${digestHex(subject)}/${file}`);
      if (referrer !== undefined) referrers.push(referrer);
    }
    return referrers.sort((one, other) => (one.descriptor.digest < other.descriptor.digest ? -1 : 1));
  }

  /** Every entry, by a name for {@link read} and {@link drop}. */
  async entries(): Promise<string[]> {
    const entries: string[] = [];
    for (const subject of await this.subjects())
      for (const file of await this.files(subject)) entries.push(`${digestHex(subject)}/${file}`);
    return entries;
  }

  /** One entry; undefined when it is gone. Throws `STORE_CORRUPT`. */
  async read(entry: string): Promise<Referrer | undefined> {
    const path = join(this.directory, entry);
    const json = await readJson(path);
    if (json === undefined) return undefined;
    const parsed = schema.safeParse(json);
    if (parsed.success) return parsed.data;
    throw new ContainerError('STORE_CORRUPT', `cannot use ${path}: ${z.prettifyError(parsed.error)}`, {
      hint: 'ContainerEngine.repair() deletes it; attach or pull the referrer again',
      details: { path },
    });
  }

  /** Deletes one entry; missing is fine. */
  async drop(entry: string): Promise<void> {
    await unlink(join(this.directory, entry)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }

  /** Forgets one referrer; missing is fine. */
  async remove(subject: Digest, referrer: Referrer): Promise<void> {
    await this.drop(`${digestHex(subject)}/${referrer.tag ?? digestHex(referrer.descriptor.digest)}.json`);
  }

  /** Every digest that something is attached to. */
  async subjects(): Promise<Digest[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`);
  }

  /** Forgets all that is attached to `subject`. */
  async forget(subject: Digest): Promise<void> {
    await removeTree(this.of(subject));
  }

  /** Where the entries of one subject lie. */
  of(subject: Digest): string {
    return join(this.directory, digestHex(subject));
  }

  private async files(subject: Digest): Promise<string[]> {
    const names = await readdir(this.of(subject)).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => name.endsWith('.json'));
  }
}
