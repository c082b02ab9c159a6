// Labels of blobs: one small file per labelled blob, so that the many without labels cost nothing.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { ensureDirectory, readJson, unlinkIfAny, writeJsonAtomic } from '../system/files.ts';
import { type Digest, digestHex } from './digest.ts';

/** Names and values; those that begin with `containerd.io/gc.` steer garbage collection. */
export type Labels = Readonly<Record<string, string>>;

/** Labels with the time of their last change, milliseconds since 1970. */
export interface StoredLabels {
  readonly labels: Labels;
  readonly updatedAt?: number | undefined;
}

const schema = z.object({ labels: z.record(z.string(), z.string()), updatedAt: z.number().optional() });
// containerd's limit for one key and value together.
const MAX_LABEL_LENGTH = 4096;
// A label is a note, not a database.
const MAX_LABELS = 1_000;

/** Throws `INVALID_ARGUMENT` for labels over the limits. */
export function validateLabels(labels: Labels): void {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS)
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot set ${entries.length} labels: ${MAX_LABELS} are allowed`,
    );
  const long = entries.find(([key, value]) => key.length + value.length > MAX_LABEL_LENGTH || key === '');
  if (long !== undefined) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot set label "${long[0].slice(0, 64)}": key and value together may have 1 to ${MAX_LABEL_LENGTH} characters`,
    );
  }
}

/**
 * Labels after an update: without field paths all are replaced; with `labels.KEY` only those keys are set (or removed,
 * when the update does not have them); `labels` replaces all. Throws `INVALID_ARGUMENT` for a path that cannot change.
 */
export function mergeLabels(before: Labels, update: Labels, fieldPaths: readonly string[]): Labels {
  validateLabels(update);
  if (fieldPaths.length === 0) return update;
  const merged = new Map(Object.entries(before));
  for (const path of fieldPaths) {
    if (path === 'labels') {
      merged.clear();
      for (const [key, value] of Object.entries(update)) merged.set(key, value);
      continue;
    }
    const key = /^labels\.(.+)$/s.exec(path)?.[1];
    if (key === undefined) {
      throw new ContainerError('INVALID_ARGUMENT', `cannot update "${path}": only labels can change`, {
        hint: 'field paths are "labels" or "labels.KEY"',
      });
    }
    const value = update[key];
    if (value === undefined || value === '') merged.delete(key);
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

/** The label files of a content store. */
export class ContentLabels {
  private readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async open(path: string): Promise<ContentLabels> {
    await ensureDirectory(path);
    return new ContentLabels(path);
  }

  /** Labels of a blob; none when it has no file. */
  async read(digest: Digest): Promise<StoredLabels> {
    const json = await readJson(this.file(digest));
    if (json === undefined) return { labels: {} };
    const result = schema.safeParse(json);
    if (result.success) return result.data;
    throw new ContainerError('STORE_CORRUPT', `the labels of ${digest} are damaged`, {
      hint: 'ContainerEngine.repair() drops them',
      details: { digest },
    });
  }

  /** Replaces all labels of a blob; none removes the file. */
  async replace(digest: Digest, labels: Labels, updatedAt?: number): Promise<void> {
    validateLabels(labels);
    if (Object.keys(labels).length === 0 && updatedAt === undefined) return await this.delete(digest);
    await writeJsonAtomic(this.file(digest), { labels, ...(updatedAt === undefined ? {} : { updatedAt }) });
  }

  /** Removes a blob's labels; none is fine. */
  async delete(digest: Digest): Promise<void> {
    await unlinkIfAny(this.file(digest));
  }

  /** Blobs that have labels. */
  async digests(): Promise<Digest[]> {
    const names = await readdir(this.path);
    return names.flatMap((name) => {
      const hex = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
      return hex === undefined ? [] : [`sha256:${hex}`];
    });
  }

  /** Where they are. */
  get directory(): string {
    return this.path;
  }

  private file(digest: Digest): string {
    return join(this.path, `${digestHex(digest)}.json`);
  }
}
