// Images as Docker knows them: by the digest of their config, by a short form of it, by names with or without defaults.

import { ContainerError } from '../errors.ts';
import type { Image, ImageStore } from '../image/image-store.ts';
import { parseReference, taggedName } from '../image/reference.ts';

/** An image with all its names. */
export interface KnownImage {
  /** Digest of the config. */
  readonly id: string;
  readonly image: Image;
  /** `repository:tag`. */
  readonly tags: readonly string[];
}

// Docker accepts any unique beginning; below four digits a name would be meant.
const MIN_SHORT_ID = 4;

/** Looks images up. */
export class ImageIndex {
  readonly store: ImageStore;

  constructor(store: ImageStore) {
    this.store = store;
  }

  /** Every image with a name. */
  async all(): Promise<KnownImage[]> {
    const byId = new Map<string, { image: Image; tags: string[] }>();
    for (const { name } of await this.store.allTags()) {
      // One that is here for another platform only is not an image that could run.
      const image = await this.store.inspect(name).catch(() => undefined);
      if (image === undefined) continue;
      const id = image.manifest.config.digest;
      const known = byId.get(id) ?? { image, tags: [] };
      known.tags.push(name);
      byId.set(id, known);
    }
    return [...byId.entries()].map(([id, { image, tags }]) => ({ id, image, tags: tags.sort() }));
  }

  /** The image that a client means. Throws `IMAGE_NOT_FOUND`. */
  async find(reference: string): Promise<KnownImage> {
    const hex = /^(?:sha256:)?([0-9a-f]{4,64})$/.exec(reference)?.[1];
    const images = await this.all();
    const name = familiarName(reference);
    const named =
      name === undefined
        ? undefined
        : images.find(({ tags }) => tags.some((tag) => familiarName(tag) === name));
    if (named !== undefined) return named;
    const digest = /@(sha256:[0-9a-f]{64})$/.exec(reference)?.[1];
    const byDigest = images.find(({ image }) => image.digest === digest || image.digest === `sha256:${hex}`);
    if (byDigest !== undefined) return byDigest;
    if (hex !== undefined && hex.length >= MIN_SHORT_ID) {
      const matches = images.filter(({ id }) => id.startsWith(`sha256:${hex}`));
      if (matches.length === 1 && matches[0] !== undefined) return matches[0];
    }
    return await this.unnamed(reference, hex ?? digest?.slice('sha256:'.length));
  }

  /** The name under which the store has what a client calls `reference`. */
  async storedName(reference: string): Promise<string> {
    const known = await this.find(reference);
    const name = familiarName(reference);
    return known.tags.find((tag) => familiarName(tag) === name) ?? known.tags[0] ?? known.image.digest;
  }

  private async unnamed(reference: string, hex: string | undefined): Promise<KnownImage> {
    const image =
      hex?.length === 64 ? await this.store.inspect(`sha256:${hex}`).catch(() => undefined) : undefined;
    if (image !== undefined) return { id: image.manifest.config.digest, image, tags: [] };
    throw new ContainerError('IMAGE_NOT_FOUND', `No such image: ${reference}`, {
      details: { image: reference },
    });
  }
}

/** A name as people write it: without `docker.io` and `library`, with a tag; undefined for what is no name. */
export function familiarName(reference: string): string | undefined {
  try {
    const parsed = parseReference(reference);
    const name = taggedName(parsed);
    return name.replace(/^(?:index\.)?docker\.io\//, '').replace(/^library\/(?=[^/]+$)/, '');
  } catch {
    return undefined;
  }
}
