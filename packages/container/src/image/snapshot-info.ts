// What is on disk of a snapshot beside its files: name, kind, parent, labels.

import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isHeptadError } from '@heptad/core';
import { z } from 'zod';
import { ContainerError, diskError, errnoOf } from '../errors.ts';
import { readJson } from '../system/files.ts';
import type { Labels } from './content-labels.ts';
import { type Digest, digestHex, digestOf, isDigest } from './digest.ts';

/** `active` is written to, `view` only looked at, `committed` never changes and can be stood on. */
export type SnapshotKind = 'active' | 'view' | 'committed';

/** A snapshot: the changes to its parent. Times are milliseconds since 1970. */
export interface Snapshot {
  /** Name of a committed snapshot (the ChainID, for a layer of an image), key of another. */
  readonly name: string;
  readonly kind: SnapshotKind;
  /** Name of the committed snapshot it stands on. */
  readonly parent?: string | undefined;
  readonly labels: Labels;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Of a committed one: short name of the symbolic link used in mount options. */
  readonly link?: string | undefined;
  /** Of a layer: digest of its uncompressed archive. */
  readonly diffId?: Digest | undefined;
  /** Of a committed one: files and directories. */
  readonly entries: number;
  /** Of a committed one: bytes of its files. */
  readonly bytes: number;
  /** Of a layer: extended attributes that could not be set. */
  readonly skippedXattrs: number;
}

const schema = z.object({
  name: z.string(),
  kind: z.enum(['active', 'view', 'committed']),
  parent: z.string().optional(),
  labels: z.record(z.string(), z.string()),
  createdAt: z.number(),
  updatedAt: z.number(),
  link: z
    .string()
    .regex(/^[0-9a-f]{12,64}$/)
    .optional(),
  diffId: z.string().optional(),
  entries: z.number(),
  bytes: z.number(),
  skippedXattrs: z.number(),
});

/** overlayfs stacks at most 500 layers; a longer chain is damage, perhaps a circle. */
export const MAX_DEPTH = 500;

/** The file of a snapshot in its directory. */
export const META = 'meta.json';
/** What a snapshot becomes: written before its directory is renamed by a commit, so that no state between is invalid. */
export const NEXT_META = 'next.json';

/** Name of a snapshot's directory: the ChainID's digits, or the hash of any other name or key. */
export function directoryName(name: string): string {
  return isDigest(name) ? digestHex(name) : digestOf(name).slice('sha256:'.length);
}

/** The snapshot of this name or key; undefined when there is none. Throws `STORE_CORRUPT`. */
export async function readSnapshot(root: string, name: string): Promise<Snapshot | undefined> {
  return await readSnapshotDirectory(root, directoryName(name));
}

/** The snapshot in a directory of `root`; undefined when there is no such directory. Throws `STORE_CORRUPT`. */
export async function readSnapshotDirectory(root: string, name: string): Promise<Snapshot | undefined> {
  const current = await parse(root, name, META);
  if (current !== undefined && directoryName(current.name) === name) return current;
  // The directory was renamed by a commit that did not come to replacing the file.
  const next = await parse(root, name, NEXT_META);
  if (next !== undefined && directoryName(next.name) === name) return next;
  if (current === undefined && next === undefined && !(await isThere(join(root, name)))) return undefined;
  throw corrupt(name);
}

/** Ends what an interrupted commit began. */
export async function settleMeta(root: string, name: string): Promise<void> {
  const directory = join(root, directoryName(name));
  await rename(join(directory, NEXT_META), join(directory, META)).catch((error: unknown) => {
    throw diskError(error, `commit snapshot ${name}`);
  });
}

async function parse(root: string, name: string, file: string): Promise<Snapshot | undefined> {
  let json: unknown;
  try {
    json = await readJson(join(root, name, file));
  } catch (error) {
    if (isHeptadError(error, 'STORE_CORRUPT')) throw corrupt(name);
    throw error;
  }
  if (json === undefined) return undefined;
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw corrupt(name);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function corrupt(directory: string): ContainerError {
  return new ContainerError('STORE_CORRUPT', `the snapshot in ${directory} has a damaged ${META}`, {
    hint: 'ContainerEngine.repair() drops it; it is extracted again when needed',
    details: { directory },
  });
}
