// Images of one machine: names that lead to verified content, unpacked into snapshots when a container needs them.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Random } from '@heptad/core';
import { isHeptadError, systemClock, systemRandom } from '@heptad/core';
import { z } from 'zod';
import { ContainerError } from '../errors.ts';
import { ensureDirectory, readJson, syncDirectory, unlinkIfAny, writeJsonAtomic } from '../system/files.ts';
import type { TrustPolicy } from '../trust/policy.ts';
import { TrustGate } from '../trust/trust-gate.ts';
import { type LoadOptions, loadArchive } from './archive-load.ts';
import { type ArchiveTarget, saveArchive } from './archive-save.ts';
import { ContentStore } from './content-store.ts';
import { chainIds, type Digest, digestOf } from './digest.ts';
import { collectGarbage, type GarbageOptions, type GarbageReport } from './garbage.ts';
import { historyOf, type ImageHistoryEntry } from './history.ts';
import type { LayerLimits } from './layer-limits.ts';
import { LeaseManager } from './leases.ts';
import {
  type Descriptor,
  type ImageConfig,
  type ImageManifest,
  isIndex,
  MAX_MANIFEST_BYTES,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from './manifest.ts';
import { choosePlatform, formatPlatform, hostPlatform } from './platform.ts';
import { parseReference, taggedName } from './reference.ts';
import { type Referrer, ReferrerIndex } from './referrers.ts';
import { Snapshotter } from './snapshotter.ts';

/** A name and what it leads to. */
export interface ImageTag {
  /** `repository:tag`. */
  readonly name: string;
  /** The manifest, or an index of manifests for several platforms. */
  readonly target: Descriptor;
  readonly taggedAt: number;
}

/** One image for this machine's platform. */
export interface Image {
  /** The name it was asked for by. */
  readonly reference: string;
  /** Digest of the manifest. */
  readonly digest: Digest;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  /** Bytes of config and layers as stored (compressed). */
  readonly sizeBytes: number;
}

/** A line of {@link ImageStore.list}. */
export interface ImageSummary {
  readonly name: string;
  readonly digest: Digest;
  readonly architecture: string;
  readonly layers: number;
  /** Bytes as stored (compressed). */
  readonly sizeBytes: number;
  readonly taggedAt: number;
}

/** Options of {@link ImageStore.open}. */
export interface ImageStoreOptions {
  /** The directory that holds content, names and snapshots. Made when missing. */
  readonly home: string;
  readonly clock?: Clock;
  readonly random?: Random;
  /** How far one layer may go when unpacked. */
  readonly layerLimits?: Partial<LayerLimits>;
  /** Which images may be pulled and run. Default what `trust.json` in `home` says, read each time; without it, all. */
  readonly trust?: TrustPolicy;
}

const tagSchema = z.object({
  name: z.string(),
  target: z.object({
    mediaType: z.string(),
    digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
    size: z.number(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  taggedAt: z.number(),
});

/**
 * The images of one machine, on disk. Several processes may use one store at once: content and snapshots are named by
 * what they are, names are replaced atomically, and {@link gc} spares what is younger than an hour.
 *
 * @example
 * ```ts
 * import { mkdtemp, rm } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { ImageStore } from '@heptad/container';
 *
 * const home = await mkdtemp(join(tmpdir(), 'images-'));
 * const images = await ImageStore.open({ home });
 * console.log(await images.list()); // []
 * await rm(home, { recursive: true });
 * ```
 */
export class ImageStore {
  /** Blobs by digest. */
  readonly content: ContentStore;
  /** Unpacked layers by ChainID. */
  readonly snapshots: Snapshotter;
  /** What is about to be used: kept from {@link gc} until released. */
  readonly leases: LeaseManager;
  readonly home: string;
  readonly clock: Clock;
  readonly random: Random;
  /** What is attached to what; {@link attach} and {@link referrers} are its face. */
  readonly referrerIndex: ReferrerIndex;
  /** Which images may be pulled and run: asked by both. */
  readonly trust: TrustGate;
  /** Where names are kept. */
  readonly tagDirectory: string;

  private constructor(parts: {
    home: string;
    clock: Clock;
    random: Random;
    content: ContentStore;
    snapshots: Snapshotter;
    leases: LeaseManager;
    trust: TrustGate;
  }) {
    this.home = parts.home;
    this.content = parts.content;
    this.snapshots = parts.snapshots;
    this.leases = parts.leases;
    this.trust = parts.trust;
    this.tagDirectory = join(parts.home, 'tags');
    this.referrerIndex = new ReferrerIndex(parts.home);
    this.clock = parts.clock;
    this.random = parts.random;
  }

  /** Opens the store in `home`. */
  static async open(options: ImageStoreOptions): Promise<ImageStore> {
    // First, so that a policy that cannot be understood is told before anything is made.
    const trust = new TrustGate(options.home, options.trust);
    const clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const content = await ContentStore.open(join(options.home, 'content'), { clock });
    const snapshots = await Snapshotter.open(join(options.home, 'snapshots'), {
      clock,
      ...(options.layerLimits === undefined ? {} : { limits: options.layerLimits }),
    });
    await ensureDirectory(join(options.home, 'tags'));
    const leases = await LeaseManager.open(join(options.home, 'leases'), {
      guard: content.guard,
      clock,
      random,
    });
    return new ImageStore({ home: options.home, clock, random, content, snapshots, leases, trust });
  }

  /** Gives content in the store a name, in place of what the name led to before. Throws `IMAGE_NOT_FOUND`. */
  async setTag(reference: string, target: Descriptor): Promise<ImageTag> {
    const tag: ImageTag = { name: taggedName(parseReference(reference)), target, taggedAt: this.clock.now() };
    // Under the guard: a collection must not delete what is being named.
    await this.content.guard.run(async () => {
      if ((await this.content.info(target.digest)) === undefined) throw notFound(target.digest);
      await writeJsonAtomic(this.tagPath(tag.name), tag);
    });
    return tag;
  }

  /** Gives the image `source` a second name. Throws `IMAGE_NOT_FOUND`, `INVALID_REFERENCE`. */
  async tag(source: string, name: string): Promise<ImageTag> {
    return await this.setTag(name, (await this.target(source)).target);
  }

  /** Every named image of this machine's platform, by name. */
  async list(): Promise<ImageSummary[]> {
    const summaries: ImageSummary[] = [];
    for (const tag of await this.allTags()) {
      const image = await this.inspect(tag.name);
      summaries.push({
        name: tag.name,
        digest: image.digest,
        architecture: image.config.architecture,
        layers: image.manifest.layers.length,
        sizeBytes: image.sizeBytes,
        taggedAt: tag.taggedAt,
      });
    }
    return summaries.sort((one, other) => one.name.localeCompare(other.name));
  }

  /** Manifest and config of an image, by name or digest. Throws `IMAGE_NOT_FOUND`. */
  async inspect(reference: string): Promise<Image> {
    const { target } = await this.target(reference);
    const chosen = isIndex(target) ? await this.choosePlatform(reference, target) : target;
    const read = async (digest: Digest): Promise<Uint8Array> => await this.document(reference, digest);
    const manifest = parseManifest(await read(chosen.digest), `the manifest of ${reference}`);
    const config = parseImageConfig(await read(manifest.config.digest), `the config of ${reference}`);
    if (config.rootfs.diff_ids.length !== manifest.layers.length) {
      throw new ContainerError(
        'IMAGE_INVALID',
        `image ${reference} has ${manifest.layers.length} layers but names ${config.rootfs.diff_ids.length}`,
      );
    }
    const sizeBytes = manifest.layers.reduce((sum, layer) => sum + layer.size, manifest.config.size);
    return { reference, digest: chosen.digest, manifest, config, sizeBytes };
  }

  /** How an image came to be, newest step first. Throws `IMAGE_NOT_FOUND`. */
  async history(reference: string): Promise<ImageHistoryEntry[]> {
    return historyOf(await this.inspect(reference));
  }

  /** Removes a name. Content that no name needs any more goes with the next {@link gc}. */
  async remove(reference: string): Promise<void> {
    const { name } = await this.target(reference);
    if (name === undefined) {
      throw new ContainerError('INVALID_REFERENCE', `cannot remove "${reference}": remove an image by name`, {
        hint: 'list() shows the names that lead to this digest',
      });
    }
    await unlinkIfAny(this.tagPath(name));
    await syncDirectory(this.tagDirectory);
  }

  /**
   * The reference, if the trust policy lets the image through to be run: pinned to the digest that was looked at, so
   * that a name that is moved meanwhile brings nothing else. Throws `IMAGE_NOT_TRUSTED`, `IMAGE_NOT_FOUND`.
   */
  async requireTrusted(reference: string): Promise<string> {
    const { verified } = await this.trust.check(this, reference);
    return verified?.digest ?? reference;
  }

  /** Makes the image's file system ready; returns the image and the ChainID of its top layer. Idempotent. */
  async unpack(reference: string): Promise<{ image: Image; top: Digest }> {
    const image = await this.inspect(reference);
    const diffIds = image.config.rootfs.diff_ids;
    const chain = chainIds(diffIds);
    const top = chain.at(-1);
    if (top === undefined) throw new ContainerError('IMAGE_INVALID', `image ${reference} has no layers`);
    const unpacked = image.manifest.layers.flatMap((layer, index) => {
      const [chainId, diffId] = [chain[index], diffIds[index]];
      if (chainId === undefined || diffId === undefined) return [];
      return [this.snapshots.applyLayer(this.content, layer, diffId, chainId, chain[index - 1])];
    });
    // All have ended before we answer, so that nothing of a refused image is written any more.
    const outcomes = await Promise.allSettled(unpacked);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return { image, top };
  }

  /**
   * Reads images from an OCI layout archive or a `docker save` archive (a tar file or a stream of one). Everything is verified against its digest.
   * Throws `ARCHIVE_INVALID`, `DIGEST_MISMATCH`, `NO_SPACE`; returns the names set.
   */
  async load(source: string | AsyncIterable<Uint8Array>, options: LoadOptions = {}): Promise<ImageTag[]> {
    return await loadArchive(this, source, options);
  }

  /**
   * Writes images as an OCI layout archive that is also a `docker save` archive, to a file (replaced as a whole) or a
   * writable stream.
   */
  async save(references: readonly string[], target: ArchiveTarget): Promise<void> {
    await saveArchive(this, references, target);
  }

  /**
   * Records that a manifest of the content store is about another one (a signature, an SBOM), so that it is found by
   * {@link referrers}, pushed with its subject, and kept as long. `subject` defaults to the manifest's own `subject`
   * field; `tag` is for what a registry finds by a tag instead (cosign's `sha256-<hex>.sig`).
   * Throws `IMAGE_INVALID` when neither says what it is about, `LIMIT_EXCEEDED`.
   */
  async attach(target: Descriptor, options: { subject?: Digest; tag?: string } = {}): Promise<Referrer> {
    const bytes = await this.content.readBytes(target.digest, MAX_MANIFEST_BYTES);
    const manifest = parseManifest(bytes, `the artifact ${target.digest}`);
    const subject = options.subject ?? manifest.subject?.digest;
    if (subject === undefined)
      throw new ContainerError('IMAGE_INVALID', `cannot attach ${target.digest}: it says no subject`);
    const referrer: Referrer = {
      descriptor: { mediaType: target.mediaType, digest: target.digest, size: target.size },
      artifactType: manifest.artifactType ?? manifest.config.mediaType,
      ...(options.tag === undefined ? {} : { tag: options.tag }),
    };
    await this.referrerIndex.add(subject, referrer);
    return referrer;
  }

  /** What is attached to a manifest or index: OCI referrers, and signatures in cosign's tag layout. */
  async referrers(digest: Digest, options: { artifactType?: string } = {}): Promise<Referrer[]> {
    const found: Referrer[] = [];
    for (const referrer of await this.referrerIndex.list(digest)) {
      if (options.artifactType !== undefined && referrer.artifactType !== options.artifactType) continue;
      // One whose manifest was damaged and is gone says nothing any more.
      if ((await this.content.info(referrer.descriptor.digest)) !== undefined) found.push(referrer);
    }
    return found;
  }

  /** Deletes content and snapshots that no name, none of `inUse`, no lease and no label leads to. See docs/formats. */
  async gc(options: GarbageOptions = {}): Promise<GarbageReport> {
    return await collectGarbage(this, options);
  }

  /** Every name. A damaged file throws `STORE_CORRUPT` naming it. */
  async allTags(): Promise<ImageTag[]> {
    const tags: ImageTag[] = [];
    for (const file of await this.tagFiles()) {
      const tag = await this.readTag(this.tagFilePath(file));
      // Removed since the directory was read.
      if (tag !== undefined) tags.push(tag);
    }
    return tags;
  }

  /** Names of the files that hold names. */
  async tagFiles(): Promise<string[]> {
    return (await readdir(this.tagDirectory)).filter((file) => /^[0-9a-f]{64}\.json$/.test(file));
  }

  /** Path of such a file. */
  tagFilePath(file: string): string {
    return join(this.tagDirectory, file);
  }

  /** One name from its file. Throws `STORE_CORRUPT` naming the file. */
  async readTagFile(file: string): Promise<ImageTag> {
    const tag = await this.readTag(this.tagFilePath(file));
    if (tag !== undefined) return tag;
    throw new ContainerError('IMAGE_NOT_FOUND', `${file} was removed meanwhile`);
  }

  /** Config and layers of an image. Throws `STORE_CORRUPT` when one of them is not here at all. */
  async parts(reference: string): Promise<Descriptor[]> {
    const { manifest } = await this.inspect(reference);
    const parts = [manifest.config, ...manifest.layers];
    for (const { digest } of parts) {
      if ((await this.content.info(digest)) !== undefined) continue;
      throw new ContainerError('STORE_CORRUPT', `image ${reference} lacks ${digest}`, {
        hint: 'load or pull it again',
      });
    }
    return parts;
  }

  /** What a reference leads to: by name, or by the digest of content in the store. */
  async target(text: string): Promise<{ name?: string; target: Descriptor }> {
    if (/^sha256:[0-9a-f]{64}$/.test(text)) return { target: await this.byDigest(text, text) };
    const reference = parseReference(text);
    const name = taggedName(reference);
    const tag = await this.readTag(this.tagPath(name));
    if (reference.digest !== undefined) {
      const target = await this.byDigest(reference.digest, text);
      return tag?.target.digest === reference.digest ? { name, target } : { target };
    }
    if (tag === undefined) throw notFound(name);
    return { name, target: tag.target };
  }

  private async byDigest(digest: Digest, text: string): Promise<Descriptor> {
    const info = await this.content.info(digest);
    if (info === undefined) throw notFound(text);
    const bytes = await this.content.readBytes(digest, MAX_MANIFEST_BYTES);
    const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    const declared =
      typeof json === 'object' && json !== null && 'mediaType' in json ? String(json.mediaType) : undefined;
    const isList = typeof json === 'object' && json !== null && 'manifests' in json;
    const mediaType = declared ?? `application/vnd.oci.image.${isList ? 'index' : 'manifest'}.v1+json`;
    return { mediaType, digest, size: info.size };
  }

  private async document(reference: string, digest: Digest): Promise<Uint8Array> {
    try {
      return await this.content.readBytes(digest, MAX_MANIFEST_BYTES);
    } catch (cause) {
      if (!isHeptadError(cause, 'CONTENT_NOT_FOUND')) throw cause;
      throw new ContainerError('IMAGE_NOT_FOUND', `image ${reference} is incomplete: ${digest} is missing`, {
        cause,
        hint: 'load or pull it again',
      });
    }
  }

  private async choosePlatform(reference: string, target: Descriptor): Promise<Descriptor> {
    const index = parseIndex(
      await this.content.readBytes(target.digest, MAX_MANIFEST_BYTES),
      `the index of ${reference}`,
    );
    const host = hostPlatform();
    const chosen = choosePlatform(index.manifests, host);
    if (chosen !== undefined && (await this.content.info(chosen.digest)) !== undefined) return chosen;
    const offered = index.manifests
      .map(({ platform }) => (platform === undefined ? 'unknown' : formatPlatform(platform)))
      .join(', ');
    throw new ContainerError(
      'IMAGE_NOT_FOUND',
      `image ${reference} is not here for ${formatPlatform(host)}; it offers ${offered || 'nothing'}`,
      {
        hint: 'load or pull it for this platform',
      },
    );
  }

  private async readTag(path: string): Promise<ImageTag | undefined> {
    const json = await readJson(path);
    if (json === undefined) return undefined;
    const result = tagSchema.safeParse(json);
    if (result.success) return result.data;
    throw new ContainerError('STORE_CORRUPT', `cannot use ${path}: ${z.prettifyError(result.error)}`, {
      hint: 'ContainerEngine.repair() sets it aside',
      details: { path },
    });
  }

  private tagPath(name: string): string {
    // Hashed, because a name with its slashes and its length is no file name.
    return join(this.tagDirectory, `${digestOf(name).slice('sha256:'.length)}.json`);
  }
}

function notFound(name: string): ContainerError {
  return new ContainerError('IMAGE_NOT_FOUND', `image ${name} is not on this machine`, {
    hint: 'build it (buildNodeImage), load it from an archive (ImageStore.load), or check the name with ImageStore.list()',
    details: { image: name },
  });
}
