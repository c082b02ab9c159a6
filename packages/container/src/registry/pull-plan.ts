// Which manifests a pull is about: what the reference leads to, and the images of it that are wanted.

import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import type { Digest } from '../image/digest.ts';
import type { ImageStore } from '../image/image-store.ts';
import {
  type Descriptor,
  type ImageManifest,
  isImage,
  isIndex,
  parseIndex,
  parseManifest,
} from '../image/manifest.ts';
import { choosePlatform, formatPlatform, hostPlatform, type Platform } from '../image/platform.ts';
import type { BlobIngest } from './blob-ingest.ts';
import { manifestName, type RegistryLocation } from './location.ts';
import { type FetchedManifest, getManifest, headManifest } from './manifest-source.ts';
import type { RegistrySession } from './session.ts';

/** A manifest that is being pulled. */
export interface PlannedImage {
  readonly fetched: FetchedManifest;
  readonly manifest: ImageManifest;
  /** What the index said; absent for an image that is in none. */
  readonly platform: Platform | undefined;
}

/** A platform, or every one. */
export type WantedPlatform = Platform | 'all';

/** What planning works with. */
export interface PlanContext {
  readonly images: ImageStore;
  readonly ingest: BlobIngest;
  readonly location: RegistryLocation;
  readonly signal: AbortSignal;
  /** Asks mirrors and the registry. */
  readonly ask: <T>(request: (session: RegistrySession) => Promise<T>) => Promise<T>;
}

/** The manifest or index that the reference leads to, from the store when it is the same. */
export async function resolveManifest(context: PlanContext): Promise<FetchedManifest> {
  const { ingest, location, images, ask, signal } = context;
  const name = manifestName(location);
  if (location.digest !== undefined) {
    const known = await fromStore(context, location.digest);
    if (known !== undefined) return known;
  } else if ((await images.target(location.reference).catch(notHere)) !== undefined) {
    // Asking costs no quota at registries that count pulls, and an image that has not changed needs no more.
    const found = await ask((session) => headManifest(session, location.repository, name, signal));
    const bytes = found === undefined ? undefined : await ingest.bytes(found.digest);
    if (found !== undefined && bytes?.length === found.size) return { descriptor: found, bytes };
  }
  return await ask((session) => getManifest(session, location.repository, name, signal));
}

async function fromStore(
  { ingest, images }: PlanContext,
  digest: Digest,
): Promise<FetchedManifest | undefined> {
  const bytes = await ingest.bytes(digest);
  if (bytes === undefined) return undefined;
  return { descriptor: (await images.target(digest)).target, bytes };
}

/** Which images are to be fetched, their manifests included. Throws `WRONG_PLATFORM`, `NOT_SUPPORTED`. */
export async function planImages(
  context: PlanContext,
  top: FetchedManifest,
  wanted: WantedPlatform,
): Promise<PlannedImage[]> {
  const { reference } = context.location;
  if (!isIndex(top.descriptor)) return [planned(reference, top, undefined)];
  const runnable = runnableOf(top, reference);
  const chosen = wanted === 'all' ? runnable : [choosePlatform(runnable, wanted)];
  const images: PlannedImage[] = [];
  for (const descriptor of chosen) {
    if (descriptor === undefined) throw wrongPlatform(reference, wanted, runnable);
    images.push(planned(reference, await child(context, descriptor), descriptor.platform));
  }
  return images;
}

/** Indexes also list attestations, whose platform is "unknown". */
function runnableOf(top: FetchedManifest, reference: string): Descriptor[] {
  const { manifests } = parseIndex(top.bytes, `the index of ${reference}`);
  return manifests.filter(({ platform }) => platform?.os !== 'unknown');
}

function planned(reference: string, fetched: FetchedManifest, platform: Platform | undefined): PlannedImage {
  const manifest = parseManifest(fetched.bytes, `the manifest of ${reference}`);
  if (isImage(manifest)) return { fetched, manifest, platform };
  throw new ContainerError(
    'NOT_SUPPORTED',
    `cannot pull ${reference}: it is no image but ${manifest.artifactType ?? manifest.config.mediaType}`,
    { hint: 'RegistryClient.manifest() and blob() fetch artifacts' },
  );
}

async function child(context: PlanContext, descriptor: Descriptor): Promise<FetchedManifest> {
  const { ingest, location, ask, signal } = context;
  const bytes = await ingest.bytes(descriptor.digest);
  if (bytes !== undefined) return { descriptor: bare(descriptor), bytes };
  const fetched = await ask((session) =>
    getManifest(session, location.repository, descriptor.digest, signal),
  );
  return { descriptor: bare(descriptor), bytes: fetched.bytes };
}

/** Configs and layers of some images, each once. */
export function partsOf(images: readonly PlannedImage[]): Descriptor[] {
  const parts = images.flatMap(({ manifest }) => [manifest.config, ...manifest.layers]);
  return [...new Map(parts.map((part) => [part.digest, part])).values()];
}

/**
 * What the name leads to: all of an index, or the one image of it that was asked for and that the store, which shows an
 * index as this machine's image of it, would not show.
 */
export function nameTarget(
  reference: string,
  top: FetchedManifest,
  images: readonly PlannedImage[],
  wanted: WantedPlatform,
): Descriptor {
  const [only] = images;
  if (wanted === 'all' || only === undefined || !isIndex(top.descriptor)) return bare(top.descriptor);
  const shown = choosePlatform(runnableOf(top, reference), hostPlatform());
  const { descriptor } = only.fetched;
  return bare(shown?.digest === descriptor.digest ? top.descriptor : descriptor);
}

/** Annotations and platform belong to the index that a descriptor stands in. */
function bare({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

function notHere(error: unknown): undefined {
  if (isHeptadError(error, 'IMAGE_NOT_FOUND')) return undefined;
  throw error;
}

/** The error for an image that does not run where it is wanted. */
export function wrongPlatform(
  reference: string,
  wanted: WantedPlatform,
  offered: readonly Descriptor[],
): ContainerError {
  const names = offered.flatMap(({ platform }) => (platform === undefined ? [] : [formatPlatform(platform)]));
  const what = wanted === 'all' ? 'any platform' : formatPlatform(wanted);
  return new ContainerError(
    'WRONG_PLATFORM',
    `${reference} is not for ${what}; it is for ${names.join(', ') || 'none'}`,
    {
      hint: 'choose one of these (option platform, flag --platform), or another image',
      details: { wanted: what, offered: names },
    },
  );
}
