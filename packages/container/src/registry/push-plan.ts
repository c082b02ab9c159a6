// What a push consists of: manifests in the order they must arrive, the blobs they name, and where else those may be.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import {
  type Descriptor,
  type ImageManifest,
  isIndex,
  parseIndex,
  parseManifest,
} from '../image/manifest.ts';
import { choosePlatform, formatPlatform, parsePlatform } from '../image/platform.ts';
import type { BlobIngest } from './blob-ingest.ts';
import { locate, type RegistryLocation } from './location.ts';
import type { FetchedManifest } from './manifest-source.ts';

/** A manifest that is in the store. */
export interface PlannedManifest extends FetchedManifest {
  /** Absent for an index. */
  readonly manifest?: ImageManifest;
}

/** A push, put together. */
export interface PushPlan {
  /** What the name will lead to. */
  readonly top: PlannedManifest;
  /** Images of an index, when `top` is one. */
  readonly children: readonly PlannedManifest[];
  /** Images of the index that are not in the store; the registry must have them. */
  readonly elsewhere: readonly Descriptor[];
}

/** Reads what `source` leads to from the store. Throws `IMAGE_NOT_FOUND`, `WRONG_PLATFORM`. */
export async function planPush(
  images: ImageStore,
  ingest: BlobIngest,
  source: string,
  platform: string | undefined,
): Promise<PushPlan> {
  const { target } = await images.target(source);
  const top = await read(ingest, target, source);
  if (!isIndex(target)) return { top, children: [], elsewhere: [] };
  const { manifests } = parseIndex(top.bytes, `the index of ${source}`);
  if (platform !== undefined) {
    const chosen = choosePlatform(manifests, parsePlatform(platform));
    if (chosen === undefined) {
      const offered = manifests.flatMap((one) =>
        one.platform === undefined ? [] : [formatPlatform(one.platform)],
      );
      throw new ContainerError(
        'WRONG_PLATFORM',
        `${source} is not for ${platform}; it is for ${offered.join(', ')}`,
      );
    }
    return { top: await read(ingest, chosen, source), children: [], elsewhere: [] };
  }
  const children: PlannedManifest[] = [];
  const elsewhere: Descriptor[] = [];
  for (const descriptor of manifests) {
    const child = await read(ingest, descriptor, source).catch((error: unknown) => {
      if (isHeptadError(error, 'IMAGE_NOT_FOUND')) return undefined;
      throw error;
    });
    if (child === undefined) elsewhere.push(descriptor);
    else children.push(child);
  }
  return { top, children, elsewhere };
}

/** Every blob of some manifests, once. */
export function blobsOf(manifests: readonly PlannedManifest[]): Descriptor[] {
  const parts = manifests.flatMap(({ manifest }) =>
    manifest === undefined ? [] : [manifest.config, ...manifest.layers],
  );
  return [...new Map(parts.map((part) => [part.digest, part])).values()];
}

/** Reads one manifest from the store. Throws `IMAGE_NOT_FOUND`. */
export async function read(
  ingest: BlobIngest,
  { mediaType, digest, size }: Descriptor,
  source: string,
): Promise<PlannedManifest> {
  const bytes = await ingest.bytes(digest);
  if (bytes === undefined) {
    throw new ContainerError('IMAGE_NOT_FOUND', `manifest ${digest} of ${source} is not on this machine`, {
      hint: 'pull it with platform "all" first',
      details: { digest },
    });
  }
  const descriptor = { mediaType, digest, size };
  if (isIndex(descriptor)) return { descriptor, bytes };
  return { descriptor, bytes, manifest: parseManifest(bytes, `the manifest of ${source}`) };
}

/**
 * Which repositories of the destination's registry may have a blob already: those that images of this store came from
 * or went to. A layer of a base image is mounted from it instead of being uploaded again.
 */
export async function mountCandidates(
  images: ImageStore,
  ingest: BlobIngest,
  destination: RegistryLocation,
): Promise<Map<Digest, string[]>> {
  const candidates = new Map<Digest, string[]>();
  for (const { name, target } of await images.allTags()) {
    const place = locate(name);
    if (place.registry !== destination.registry || place.repository === destination.repository) continue;
    const plan = await planPush(images, ingest, name, undefined).catch(() => undefined);
    // An image that is not whole, or damaged, is no reason not to push another.
    if (plan === undefined || target.digest !== plan.top.descriptor.digest) continue;
    for (const { digest } of blobsOf([plan.top, ...plan.children])) {
      const known = candidates.get(digest) ?? [];
      if (!known.includes(place.repository)) candidates.set(digest, [...known, place.repository]);
    }
  }
  return candidates;
}
