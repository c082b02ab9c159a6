// Mark and sweep over the image store: what a name or a container leads to stays, the rest goes.

import { deleteAbandonedTemporaries } from '../system/files.ts';
import { chainIds, type Digest } from './digest.ts';
import { ImageStore } from './image-store.ts';
import type { Descriptor } from './manifest.ts';
import {
  isImage,
  isIndex,
  MAX_MANIFEST_BYTES,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from './manifest.ts';

/** What {@link ImageStore.gc} deleted. */
export interface GarbageReport {
  readonly blobs: number;
  readonly snapshots: number;
  readonly unfinished: number;
  /** Bytes of the deleted blobs and snapshots. */
  readonly freedBytes: number;
}

// A load or pull under way, perhaps in another process, has written content that no name leads to yet.
const DEFAULT_MINIMUM_AGE_MS = 60 * 60 * 1000;

interface Marked {
  readonly blobs: Set<Digest>;
  readonly snapshots: Set<Digest>;
}

/** See {@link ImageStore.gc}. */
export async function collectGarbage(
  store: ImageStore,
  options: { inUse?: readonly Digest[]; minimumAgeMs?: number },
): Promise<GarbageReport> {
  const before = store.clock.now() - (options.minimumAgeMs ?? DEFAULT_MINIMUM_AGE_MS);
  const marked: Marked = { blobs: new Set(), snapshots: new Set() };
  for (const tag of await store.allTags()) await mark(store, tag.target, marked);
  for (const digest of options.inUse ?? []) {
    const found = await store.target(digest).catch(() => undefined);
    if (found !== undefined) await mark(store, found.target, marked);
  }
  let blobs = 0;
  let freedBytes = 0;
  for await (const blob of store.content.list()) {
    // `<=`: a blob written in this very millisecond is garbage too when no minimum age is asked for.
    if (marked.blobs.has(blob.digest) || blob.touchedAt > before) continue;
    await store.content.delete(blob.digest);
    blobs += 1;
    freedBytes += blob.size;
  }
  // After the blobs, so that a crash in between leaves an entry without content, which the next run removes.
  for (const subject of await store.referrerIndex.subjects())
    if ((await store.content.info(subject)) === undefined) await store.referrerIndex.forget(subject);
  const snapshots = await sweepSnapshots(store, marked.snapshots, before);
  const unfinished =
    (await deleteAbandonedTemporaries(store.tagDirectory)) +
    (await store.content.deleteStaleIngests(before)) +
    (await store.snapshots.deleteUnfinished((path) => ImageStore.olderThan(path, before)));
  return { blobs, snapshots: snapshots.count, unfinished, freedBytes: freedBytes + snapshots.bytes };
}

async function mark(store: ImageStore, target: Descriptor, marked: Marked): Promise<void> {
  // An index may name platforms that were never fetched.
  if (marked.blobs.has(target.digest) || (await store.content.info(target.digest)) === undefined) return;
  marked.blobs.add(target.digest);
  // What is attached to something lives as long as that does.
  for (const { descriptor } of await store.referrers(target.digest)) await mark(store, descriptor, marked);
  const bytes = await store.content.readBytes(target.digest, MAX_MANIFEST_BYTES);
  if (isIndex(target)) {
    for (const child of parseIndex(bytes).manifests) await mark(store, child, marked);
    return;
  }
  const manifest = parseManifest(bytes);
  for (const { digest } of [manifest.config, ...manifest.layers]) marked.blobs.add(digest);
  if (!isImage(manifest) || (await store.content.info(manifest.config.digest)) === undefined) return;
  const config = parseImageConfig(await store.content.readBytes(manifest.config.digest, MAX_MANIFEST_BYTES));
  for (const chainId of chainIds(config.rootfs.diff_ids)) marked.snapshots.add(chainId);
}

async function sweepSnapshots(
  store: ImageStore,
  keep: ReadonlySet<Digest>,
  before: number,
): Promise<{ count: number; bytes: number }> {
  let count = 0;
  let bytes = 0;
  for (const chainId of await store.snapshots.list()) {
    if (keep.has(chainId) || !(await store.snapshots.olderThan(chainId, before))) continue;
    bytes += (await store.snapshots.stat(chainId).catch(() => undefined))?.bytes ?? 0;
    await store.snapshots.remove(chainId);
    count += 1;
  }
  return { count, bytes };
}
